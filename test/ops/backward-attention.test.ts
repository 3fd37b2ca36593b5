import { describe, expect, it } from "vitest";
import type { Plan, Word } from "../../src/gpu/dispatch.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import {
  attentionBackwardContextParameters,
  attentionBackwardFlops,
  attentionBackwardQueryParameters,
  NO_READER,
  planAttentionBackwardContext,
  planAttentionBackwardQuery,
} from "../../src/ops/attention-backward.js";
import { assertClose } from "../support/compare.js";
import { FAMILIES, gpuOfThisFile, hardwareProfile, inTier } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { asFloats, type Region, sentinels, surrounded } from "../support/run-op.js";
import { declaredWorkgroupBytes, parameterWords, wholeText } from "../support/wgsl.js";
import { type AttentionBackwardCase, attentionBackwardCases } from "./backward-cases.js";
import { type AttentionGradients, attendBackward } from "./backward-oracles.js";
import { inWords, kept, numbers, packed, roundedSlack, runOutputs } from "./backward-support.js";
import { attend } from "./oracles.js";

const gpu = gpuOfThisFile();

function expectHonest({ variant, workgroupBytes }: Plan, parameters: readonly Word[], { limits }: Profile) {
  const text = wholeText(variant);
  expect(parameters.length).toBe(parameterWords(text));
  expect(workgroupBytes).toBe(declaredWorkgroupBytes(text, { ...variant.constants, ...variant.overrides }, 4));
  expect(workgroupBytes).toBeLessThanOrEqual(limits.maxComputeWorkgroupStorageSize);
}

/** Half the distance between 1 and the next f32: the relative error of one rounding. */
const UNIT = 2 ** -24;

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Operands in the layouts that the kernels read, and the gradients that are to come out, as [rows, heads · headSize]. */
function setUp(one: AttentionBackwardCase, profile: Profile) {
  const { reads, contexts, tokens, heads, headSize, together = false, gap = 0, first = 0, data = "normal" } = one;
  const random = new Random(one.name);
  const sequences = reads.length;
  const width = heads * headSize;
  const make = (blocks: number, scale = 1) => {
    const values = random.normals(blocks * tokens * width, scale);
    if (data === "equal") for (let at = width; at < values.length; at++) values[at] = values[at % width]!;
    if (data === "padded") for (let at = 0; at < values.length; at++) if (at % headSize >= headSize - 2) values[at] = 0;
    return values;
  };
  const [query, key, value] = [make(sequences, 1 / Math.sqrt(headSize)), make(contexts), make(contexts)];
  const outputGradient = kept(profile, make(sequences));
  /** Queries lie in the opposite order of sequences, so that a row of one is not taken for a row of the other. */
  const queryBlock = (s: number) => sequences - 1 - s;
  const head = (operand: ArrayLike<number>, block: number, h: number) =>
    Float64Array.from(
      { length: tokens * headSize },
      (_, at) => operand[(block * tokens + Math.floor(at / headSize)) * width + h * headSize + (at % headSize)]!,
    );
  if (data === "logits") {
    let highest = 0;
    for (let s = 0; s < sequences; s++) {
      for (let h = 0; h < heads; h++) {
        const [q, k] = [head(query, queryBlock(s), h), head(key, reads[s]!, h)];
        for (let at = 0; at < tokens * tokens; at++) {
          let score = 0;
          for (let c = 0; c < headSize; c++)
            score += q[Math.floor(at / tokens) * headSize + c]! * k[(at % tokens) * headSize + c]!;
          highest = Math.max(highest, Math.abs(score));
        }
      }
    }
    for (let at = 0; at < query.length; at++) query[at]! *= 80 / highest;
  }
  for (const operand of [query, key, value]) operand.set(kept(profile, operand));

  const add = (to: ArrayLike<number> & { [at: number]: number }, block: number, h: number, values: Float64Array) => {
    for (let at = 0; at < values.length; at++)
      to[(block * tokens + Math.floor(at / headSize)) * width + h * headSize + (at % headSize)]! += values[at]!;
  };
  const output = new Float32Array(sequences * tokens * width);
  for (let s = 0; s < sequences; s++)
    for (let h = 0; h < heads; h++)
      add(
        output,
        s,
        h,
        attend(tokens, headSize, head(query, queryBlock(s), h), head(key, reads[s]!, h), head(value, reads[s]!, h)),
      );
  output.set(kept(profile, output));

  const scale = 1 / Math.sqrt(headSize);
  const gradients = {
    query: new Float64Array(query.length),
    key: new Float64Array(key.length),
    value: new Float64Array(value.length),
  };
  const statistics = new Float64Array(2 * sequences * tokens * heads);
  for (let s = 0; s < sequences; s++) {
    for (let h = 0; h < heads; h++) {
      const of: AttentionGradients = attendBackward(
        tokens,
        headSize,
        head(query, queryBlock(s), h),
        head(key, reads[s]!, h),
        head(value, reads[s]!, h),
        head(output, s, h),
        head(outputGradient, s, h),
      );
      add(
        gradients.query,
        queryBlock(s),
        h,
        of.query.map((x) => scale * x),
      );
      add(gradients.key, reads[s]!, h, of.key);
      add(gradients.value, reads[s]!, h, of.value);
      for (let t = 0; t < tokens; t++) {
        statistics[2 * ((s * tokens + t) * heads + h)] = of.logSum[t]!;
        statistics[2 * ((s * tokens + t) * heads + h) + 1] = of.product[t]!;
      }
    }
  }

  // The first rows of all buffers belong to nobody, nor do the columns around those of the operands.
  const skipped = { query: 1, context: together ? 1 : 3 };
  const parts = together ? 3 : 1;
  const queryStride = parts * width + 2 * gap;
  const contextStride = (together ? 3 : 2) * width + 2 * gap;
  const keyColumn = gap + (together ? width : 0);
  const valueColumn = keyColumn + width;
  const place = (target: Float32Array, rows: number, stride: number, column: number, values: Float32Array) => {
    for (let at = 0; at < values.length; at++)
      target[(rows + Math.floor(at / width)) * stride + column + (at % width)] = values[at]!;
  };
  const buffer = (rows: number, stride: number) => new Float32Array(rows * stride + 64).fill(Number.NaN);
  const queries = buffer(skipped.query + Math.max(sequences, together ? contexts : 0) * tokens, queryStride);
  const keys = together ? queries : buffer(skipped.context + contexts * tokens, contextStride);
  place(queries, skipped.query, queryStride, gap, query);
  place(keys, skipped.context, contextStride, keyColumn, key);
  place(keys, skipped.context, contextStride, valueColumn, value);
  const queryWords = packed(profile, queries);
  const outputRegion = { offset: 0, stride: width + gap, rows: sequences * tokens, cols: width };
  const readers = Array.from({ length: contexts }, (_, c) => {
    const of = reads.flatMap((read, s) => (read === c ? [s] : []));
    return [skipped.context + c * tokens, of[0] ?? NO_READER, of[1] ?? NO_READER, 7];
  });

  // Gradients as in training: one buffer, whose rows are those of the operands where these share theirs.
  const gradientStride = 3 * width + 2 * gap;
  const shape = { sequences: sequences - first, contexts: contexts - first, tokens, heads, headSize };
  const common = { queryColumn: gap, queryStride, keyColumn, valueColumn, contextStride, outputStride: width + gap };
  const region = (block: number, blocks: number, skip: number, column: number, cols: number): Region =>
    inWords(profile, {
      offset: (skip + block * tokens) * gradientStride + column,
      stride: gradientStride,
      rows: blocks * tokens,
      cols,
    });
  return {
    width,
    vanishing: {
      /** The largest Σ |do · v| of a head's row. */
      product: Math.max(
        ...Array.from({ length: sequences * heads }, (_, at) => {
          const [s, h] = [Math.floor(at / heads), at % heads];
          const [d, v] = [head(outputGradient, s, h), head(value, reads[s]!, h)];
          return d.subarray(0, headSize).reduce((sum, x, c) => sum + Math.abs(x * v[c]!), 0);
        }),
      ),
      query: largest(query),
      key: largest(key),
    },
    query: {
      plan: planAttentionBackwardQuery(shape, profile),
      parameters: attentionBackwardQueryParameters(shape, {
        ...common,
        queryGradientColumn: gap,
        queryGradientStride: gradientStride,
        scale,
        firstSequence: first,
      }),
      inputs: [
        queryWords,
        together ? queryWords : packed(profile, keys),
        Uint32Array.from(reads.flatMap((c, s) => [skipped.query + queryBlock(s) * tokens, skipped.context + c * tokens])),
        packed(profile, surrounded(output, outputRegion)),
        packed(profile, surrounded(outputGradient, outputRegion)),
      ],
      region: region(0, sequences - first, skipped.query, gap, width),
      statisticsRegion: {
        offset: 2 * first * tokens * heads,
        stride: 2 * heads,
        rows: (sequences - first) * tokens,
        cols: 2 * heads,
      },
    },
    context: {
      plan: planAttentionBackwardContext(shape, profile),
      parameters: attentionBackwardContextParameters(shape, {
        ...common,
        keyGradientColumn: gap + width,
        valueGradientColumn: gap + 2 * width,
        contextGradientStride: gradientStride,
        firstContext: first,
      }),
      readers: Uint32Array.from(readers.flat()),
      region: region(first, contexts - first, skipped.context, gap + width, 2 * width),
    },
    reference: {
      query: gradients.query.slice(0, (sequences - first) * tokens * width),
      statistics: statistics.slice(2 * first * tokens * heads),
      allStatistics: Float32Array.from(statistics),
      context: Float64Array.from({ length: 2 * (contexts - first) * tokens * width }, (_, at) => {
        const row = first * tokens + Math.floor(at / (2 * width));
        const column = at % (2 * width);
        return column < width ? gradients.key[row * width + column]! : gradients.value[row * width + column - width]!;
      }),
    },
  };
}

type Ready = ReturnType<typeof setUp>;

async function runQuery(on: Gpu, { query }: Ready, gradients = sentinels(query.region)) {
  expectHonest(query.plan, query.parameters, on.profile);
  const [gradient, statistics] = await runOutputs(on, query, [
    { before: gradients, region: query.region },
    { before: sentinels(query.statisticsRegion), region: query.statisticsRegion },
  ]);
  return { gradient: gradient!, statistics: statistics! };
}

async function runContext(on: Gpu, { query, context }: Ready, statistics: Float32Array | Uint32Array, before?: Uint32Array) {
  expectHonest(context.plan, context.parameters, on.profile);
  const [queries, keys, sequences, , outputGradient] = query.inputs;
  const inputs = [queries!, keys!, sequences!, context.readers, outputGradient!, statistics];
  const [gradient] = await runOutputs(on, { ...context, inputs }, [
    { before: before ?? sentinels(context.region), region: context.region },
  ]);
  return gradient!;
}

function expectClose(result: ArrayLike<number>, reference: Float64Array, profile: Profile, what: string, cols: number) {
  assertClose(result, reference, what, {
    slack: roundedSlack(profile, reference),
    place: (at) => `row ${Math.floor(at / cols)}, column ${at % cols}`,
  });
}

/**
 * Where all rows are alike nothing depends on the scores: D = do · v, and what is left of dq and dk is the rounding of these two
 * sums of headSize products, at most that of every addition, times the largest key or query. One context has two readers.
 */
function vanishingSlack({ headSize }: AttentionBackwardCase, { vanishing: { product, query, key } }: Ready) {
  const rounding = 2 * (headSize + 8) * UNIT * product;
  return { dq: (rounding * key) / Math.sqrt(headSize), dk: 2 * rounding * query };
}

async function check(one: AttentionBackwardCase, on: Gpu, profile: Profile) {
  const ready = setUp(one, profile);
  const { width, reference } = ready;
  const { gradient, statistics } = await runQuery(on, ready);
  assertClose(asFloats(statistics.words), reference.statistics, `statistics, ${one.name}`);
  const context = numbers(profile, (await runContext(on, ready, reference.allStatistics)).words);
  const columns = (values: ArrayLike<number>, from: number) =>
    Float64Array.from(
      { length: values.length / 2 },
      (_, at) => values[Math.floor(at / width) * 2 * width + from + (at % width)]!,
    );
  const vanishing = one.tokens === 1 || one.data === "equal";
  for (const [name, result, expected] of [
    ["dq", numbers(profile, gradient.words), reference.query],
    ["dk", columns(context, 0), columns(reference.context, 0)],
    ["dv", columns(context, width), columns(reference.context, width)],
  ] as const) {
    if (vanishing && name !== "dv") {
      const allowed = vanishingSlack(one, ready)[name];
      for (const value of expected) expect(Math.abs(value)).toBeLessThanOrEqual(allowed);
      for (const value of result) expect(Math.abs(value)).toBeLessThanOrEqual(allowed);
    } else expectClose(result, expected, profile, `${name}, ${one.name}`, width);
  }
}

const titled = attentionBackwardCases.map((one): [string, AttentionBackwardCase] => [one.name, one]);

describe.each(FAMILIES)("gradients of attention, tiles for %s", (_, of) => {
  it.each(titled)("%s", (_, one) => check(one, gpu(), of(gpu().profile)));

  // Heads of 32 have a case of every kind; those of other sizes would cost pipelines and show nothing new.
  it.each(titled.filter(([, { headSize }]) => headSize === 32))("in halves: %s", async (_, one) => {
    const half = inTier(gpu(), "f16");
    await check(one, half, of(half.profile));
  });
});

const withMemory = (profile: Profile, bytes: number): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupStorageSize: bytes },
});

describe("gradients of attention where workgroup memory is scarce", () => {
  it.each(titled.filter(([, { headSize, tokens }]) => headSize === 192 || (headSize === 64 && tokens < 400)))(
    "16 KB: %s",
    (_, one) => check(one, gpu(), withMemory(hardwareProfile(gpu().profile), 16_384)),
  );

  it.each([4096, 2048])("%i bytes, heads of 20", async (bytes) => {
    const one = attentionBackwardCases.find(({ headSize, tokens }) => headSize === 20 && tokens === 33)!;
    await check(one, gpu(), withMemory(hardwareProfile(gpu().profile), bytes));
  });

  it("is an error with a way out where not even one block fits", () => {
    const shape = { sequences: 1, contexts: 1, tokens: 5, heads: 1, headSize: 64 };
    const profile = withMemory(gpu().profile, 1024);
    for (const plan of [planAttentionBackwardQuery, planAttentionBackwardContext]) {
      expect(() => plan(shape, profile)).toThrow(/heads of 64 needs \d+ bytes.*1024.*Use more heads/s);
      expect(() => plan({ ...shape, headSize: 6 }, profile)).toThrow(RangeError);
    }
  });
});

describe("tiles", () => {
  it("share the rows of a sequence evenly, and cover them", () => {
    for (let tokens = 1; tokens < 450; tokens++) {
      for (const profile of [gpu().profile, hardwareProfile(gpu().profile)]) {
        for (const plan of [planAttentionBackwardQuery, planAttentionBackwardContext]) {
          const { variant, workgroups } = plan({ sequences: 5, contexts: 7, tokens, heads: 3, headSize: 64 }, profile);
          const rows = 4 * variant.overrides.BLOCKS!;
          expect(workgroups[0] * rows).toBeGreaterThanOrEqual(tokens);
          expect((workgroups[0] - 1) * rows).toBeLessThan(tokens);
          expect(workgroups.slice(1)).toEqual([3, plan === planAttentionBackwardQuery ? 5 : 7]);
        }
      }
    }
  });
});

describe("both dispatches on one buffer of gradients", () => {
  it.each(titled.filter(([, { together }]) => together))("%s", async (_, one) => {
    const ready = setUp(one, gpu().profile);
    const first = await runQuery(gpu(), ready, sentinels(ready.query.region, ready.context.region));
    const after = await runContext(gpu(), ready, first.statistics.after, first.gradient.after);
    expectClose(asFloats(after.words), ready.reference.context, gpu().profile, `dk and dv, ${one.name}`, 2 * ready.width);
  });

  it("give the same bits again", async () => {
    const ready = setUp(attentionBackwardCases.find(({ reads }) => reads.length === 3)!, gpu().profile);
    const [one, two] = [await runQuery(gpu(), ready), await runQuery(gpu(), ready)];
    expect(one).toEqual(two);
    const contexts = [await runContext(gpu(), ready, one.statistics.after), await runContext(gpu(), ready, one.statistics.after)];
    expect(contexts[0]).toEqual(contexts[1]);
  });
});

it("counts the operations of eight products", () => {
  const shape = { sequences: 3, contexts: 2, tokens: 10, heads: 2, headSize: 8 };
  expect(attentionBackwardFlops(shape)).toBe(8 * 3 * 2 * (2 * 10 * 10 * 8));
});
