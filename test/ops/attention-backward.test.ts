import { describe, expect, it } from "vitest";
import {
  attentionBackwardFlops,
  planAttentionBackwardContext,
  planAttentionBackwardQuery,
} from "../../src/ops/attention-backward.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";
import { tested } from "../support/op.js";
import { Random } from "../support/random.js";
import { compare, runOp } from "../support/run-op.js";
import { dot, normals, slopeError } from "../support/slopes.js";
import { attend } from "./attention.case.js";
import { attentionBackwardCases, attentionBackwardContextOp, attentionBackwardQueryOp } from "./attention-backward.case.js";
import { attendBackward } from "./attention-backward.oracle.js";
import { describeGradients, isCostly, run, withMemory } from "./attention-backward-families.js";

const gpu = gpuOfThisFile();

const cases = tested(attentionBackwardCases);

// Those of many tokens are in attention-backward.slow.test.ts.
describeGradients(gpu, (one) => !isCostly(one));

describe("gradients of attention where workgroup memory is scarce", () => {
  it.each([4096, 2048])("%i bytes, heads of 20", async (bytes) => {
    const one = attentionBackwardCases.find(({ headSize, tokens }) => headSize === 20 && tokens === 33)!;
    await run(one, gpu(), withMemory(hardwareProfile(gpu().profile), bytes));
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
  it("give the same bits again", async () => {
    const one = attentionBackwardCases.find(({ reads }) => reads.length === 3)!;
    const query = () => runOp(gpu(), attentionBackwardQueryOp.setup(one, gpu().profile));
    const [first, second] = [await query(), await query()];
    expect(first).toEqual(second);
    const context = () => runOp(gpu(), attentionBackwardContextOp.setup(one, gpu().profile));
    expect(await context()).toEqual(await context());
  });
});

it("where all rows are alike, the oracle's gradients of queries and keys vanish to their rounding", () => {
  const vanishing = cases.filter(([, { tokens, data }]) => tokens === 1 || data === "equal");
  expect(vanishing.length).toBeGreaterThan(1);
  for (const [name, one] of vanishing) {
    // The allowance is of what the device makes; what is true must lie within it as well.
    for (const op of [attentionBackwardQueryOp, attentionBackwardContextOp]) {
      const setup = op.setup(one, gpu().profile);
      const { truth } = setup.results[0]!;
      const numbers = Float64Array.from({ length: setup.results[0]!.size }, (_, at) => truth!(at));
      compare(
        { ...setup, results: [{ ...setup.results[0]!, value: (numbers, at) => numbers[at]! }] },
        [{ words: new Uint32Array(), numbers, after: new Uint32Array() }],
        name,
      );
    }
  }
});

it("counts the operations of eight GEMMs", () => {
  const shape = { sequences: 3, contexts: 2, tokens: 10, heads: 2, headSize: 8 };
  expect(attentionBackwardFlops(shape)).toBe(8 * 3 * 2 * (2 * 10 * 10 * 8));
});

describe("the oracle's gradients are slopes of attention's", () => {
  it.each([
    [1, 4],
    [5, 3],
    [7, 8],
  ])("%i tokens, heads of %i", (tokens, size) => {
    const random = new Random(`${tokens} ${size}`);
    const [q, k, v, d] = [0, 1, 2, 3].map(() => normals(random, tokens * size)) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const loss = () => dot(d, attend(tokens, size, q, k, v));
    const { query, key, value, product } = attendBackward(tokens, size, q, k, v, attend(tokens, size, q, k, v), d);
    expect(slopeError(v, value, loss)).toBeLessThan(1e-7);
    if (tokens === 1) {
      // A single key takes all weight: nothing depends on the scores.
      for (const x of [...query, ...key]) expect(Math.abs(x)).toBeLessThan(1e-14);
      expect(product[0]).toBeCloseTo(dot(d, v), 12);
    } else {
      expect(slopeError(q, query, loss)).toBeLessThan(1e-7);
      expect(slopeError(k, key, loss)).toBeLessThan(1e-7);
    }
  });

  it("of keys and values that two sequences read are sums", () => {
    const [tokens, size] = [6, 4];
    const random = new Random("two readers");
    const [q1, q2, k, v, d1, d2] = [0, 1, 2, 3, 4, 5].map(() => normals(random, tokens * size)) as Float64Array[];
    const loss = () => dot(d1!, attend(tokens, size, q1!, k!, v!)) + dot(d2!, attend(tokens, size, q2!, k!, v!));
    const first = attendBackward(tokens, size, q1!, k!, v!, attend(tokens, size, q1!, k!, v!), d1!);
    const second = attendBackward(tokens, size, q2!, k!, v!, attend(tokens, size, q2!, k!, v!), d2!);
    expect(
      slopeError(
        k!,
        first.key.map((x, at) => x + second.key[at]!),
        loss,
      ),
    ).toBeLessThan(1e-7);
    expect(
      slopeError(
        v!,
        first.value.map((x, at) => x + second.value[at]!),
        loss,
      ),
    ).toBeLessThan(1e-7);
  });
});
