import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../src/errors.js";
import { type AdapterChoice, type Gpu, openGpu } from "../../src/gpu/gpu.js";
import { Tuner } from "../../src/gpu/tuner.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import type { PixelImage } from "../../src/image/types.js";
import { matchColour } from "../../src/index.js";
import { findModel, type OpenOptions } from "../../src/models/open.js";
import { blockPasses } from "../../src/models/stylizing-vit/modes.js";
import { asFloats } from "../../src/net/pixels.js";
import { exportOnnx } from "../../src/onnx/export.js";
import type { Engine, Job } from "../../src/painter/engine.js";
import { attentionOp } from "../../test/ops/attention.case.js";
import { linearOp } from "../../test/ops/linear.case.js";
import { bindTuned } from "../bind.js";
import { type Clock, timeDispatch } from "../device-clock.js";
import { benchModelSource, LEVELS, levelsOff, openModel, tiles, toPlanes } from "../model.js";
import { check } from "../ops.js";
import type { ModelName } from "../options.js";
import { duration, number, type Report } from "../report.js";
import { median, relativeError, type Summary, summarize } from "../statistics.js";
import { installRivals } from "./install.js";
import { Rival, RivalFailure, startOnnxruntime, startTorch } from "./rival.js";

/** Of the largest value, against our f32 result, for what computes in f32 and in f16. */
const BOUNDS = { f32: 1e-4, f16: 1e-2, matrix: 1e-2 } as const;
/** By how much our f16 error may exceed that of PyTorch in f16, which rounds everything. */
const NAIVE = 2;

type Kind = keyof typeof BOUNDS;

export interface RivalRow {
  model: string;
  batch: number;
  /** Ours: what the rival is held against. */
  tier: Kind;
  rival: string;
  /** Its version and where it ran. */
  version?: string;
  /** Of the largest value, against our f32 result; absent where the rival is another function. */
  error?: number;
  /** Milliseconds of a batch. */
  milliseconds?: Summary;
  /** Of the model alone, inputs and results on its device. */
  modelMilliseconds?: Summary;
  /** Ours in the turns between. */
  ours?: Summary;
  imagesPerSecond?: number;
  /** The rival's time over ours: the median of neighbouring runs. */
  ratio?: number;
  /** Why there are no times. */
  skipped?: string;
}

export interface RivalOpRow {
  op: string;
  shape: string;
  tier: Kind;
  rival: string;
  milliseconds: number;
  teraflops: number;
  ours: { milliseconds: number; teraflops: number };
  ratio: number;
}

export interface RivalsRequest {
  models: readonly ModelName[];
  batches: readonly number[];
  adapter: AdapterChoice;
  clock: Clock;
  quick: boolean;
  root: string;
}

/** One that takes turns with us. */
interface Contestant {
  name: string;
  kind?: Kind;
  /** Milliseconds of one run. */
  run(): Promise<{ milliseconds: number; model?: number }>;
  /**
   * What it computes: `stylized` of the sampled images, and by how many levels of 8 bits its images are off from where
   * they should be. It runs once for that, which warms it up.
   */
  check(): Promise<{ planes?: Float32Array; levels?: number }>;
  version?: string;
}

/** Everything that one model and batch is measured with. */
interface Match {
  name: ModelName;
  batch: number;
  tier: Kind;
  reference: Float32Array;
  ours(): Promise<number>;
  budget: number;
  rows: RivalRow[];
  report: Report;
}

const COLUMNS = [
  ["rival", 46],
  ["error", 8],
  ["median", 9],
  ["images/s", 9],
  ["ours", 9],
  ["ours over it", 12],
] as const;

async function timed(work: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Checks a contestant, then lets it and us take turns. @returns its error, where it has one. */
async function compete(match: Match, one: Contestant): Promise<number | undefined> {
  const { name, batch, tier, report, rows, budget } = match;
  const title = `${name} ×${batch}, ${one.name}`;
  const row: RivalRow = { model: name, batch, tier, rival: one.name, ...(one.version ? { version: one.version } : {}) };
  rows.push(row);
  let error: number | undefined;
  try {
    // The check also tells how often there is time to run.
    const before = performance.now();
    const { planes, levels = 0 } = await one.check();
    const first = performance.now() - before;
    const kind = one.kind ?? "f32";
    if (planes) error = relativeError(planes, match.reference);
    if (error !== undefined) row.error = error;
    if (!((error ?? 0) <= BOUNDS[kind]) || !(levels <= LEVELS[kind])) {
      row.skipped = `off by ${(error ?? 0).toExponential(1)} of the largest value, ${BOUNDS[kind]} allowed; images by ${levels} levels, ${LEVELS[kind]} allowed`;
      report.fail(title, row.skipped);
      return error;
    }
    const once = first + (await match.ours());
    const rounds = Math.max(once > budget ? 1 : 3, Math.min(25, Math.round(budget / once)));
    const theirs: { milliseconds: number; model?: number }[] = [];
    const ours: number[] = [];
    for (let i = 0; i < rounds; i++) {
      ours.push(await match.ours());
      theirs.push(await one.run());
    }
    row.milliseconds = summarize(theirs.map(({ milliseconds }) => milliseconds));
    if (theirs[0]!.model !== undefined) row.modelMilliseconds = summarize(theirs.map(({ model }) => model!));
    row.ours = summarize(ours);
    row.imagesPerSecond = (1000 * batch) / row.milliseconds.median;
    row.ratio = median(theirs.map(({ milliseconds }, i) => milliseconds / ours[i]!));
    report.row(
      one.name,
      error === undefined ? "" : error.toExponential(1),
      duration(row.milliseconds.median),
      number(row.imagesPerSecond),
      duration(row.ours.median),
      number(row.ratio),
      row.modelMilliseconds ? `  the model alone ${duration(row.modelMilliseconds.median)}` : "",
    );
  } catch (caught) {
    skip(match, one.name, caught, row);
  }
  return error;
}

/** A rival that cannot be had, dies or gives up is a line of the table and no failure of ours. */
function skip({ name, batch, tier, rows, report }: Match, rival: string, why: unknown, row?: RivalRow): void {
  if (typeof why !== "string" && !(why instanceof RivalFailure)) throw why;
  const entry = row ?? { model: name, batch, tier, rival };
  if (!row) rows.push(entry);
  entry.skipped = messageOf(why);
  report.line(`${rival.padEnd(COLUMNS[0][1])}  not measured: ${entry.skipped}`);
}

async function readPlanes(file: string): Promise<Float32Array> {
  await using tensors = await SafetensorsFile.open(file);
  return tensors.read("stylized");
}

/** Files that rivals read, and one that they write. */
interface Files {
  weights: string;
  graph: string;
  float16Graph: string;
  inputs: string;
  output: string;
}

async function competeTorch(match: Match, torch: Rival, files: Files, sampled: readonly number[], patience: number) {
  let naive: number | undefined;
  await torch.ask("load", { inputs: files.inputs }, patience);
  const version = `${torch.hello.name}, ${torch.hello.device}`;
  for (const [variant, kind, what] of [
    ["eager f32", "f32", `PyTorch eager f32, ${torch.hello.cuda ? "no TF32, " : ""}as published`],
    ["eager f16", "f16", "PyTorch eager f16, SDPA"],
    ["compile f16", "f16", "torch.compile f16, SDPA"],
  ] as const) {
    try {
      await torch.ask("prepare", { variant }, 2 * patience);
    } catch (error) {
      skip(match, what, error);
      continue;
    }
    const error = await compete(match, {
      name: what,
      kind,
      version,
      run: () => torch.ask("run", { variant }, patience),
      check: async () => {
        const request = { variant, output: files.output, images: sampled };
        const { levels } = await torch.ask<{ levels: number }>("check", request, patience);
        return { planes: await readPlanes(files.output), levels };
      },
    });
    if (variant === "eager f16") naive = error;
    await torch.ask("free", { variant }, patience).catch(() => {});
  }
  return naive;
}

async function competeOnnxruntime(
  match: Match,
  {
    graph,
    provider,
    kind,
    software,
    root,
  }: { graph: string; provider: "cpu" | "webgpu"; kind: Kind; software: boolean; root: string },
  files: Files,
  sampled: readonly number[],
  patience: number,
) {
  const what = `onnxruntime-node ${provider === "cpu" ? "CPU" : "WebGPU"} ${kind}`;
  let rival: Rival | undefined;
  try {
    rival = await startOnnxruntime(root, provider, software);
    const child = rival;
    await child.ask("load", { model: graph, inputs: files.inputs }, patience);
    await compete(match, {
      name: what,
      kind,
      version: `${child.hello.name}, ${provider}${software && provider === "webgpu" ? ", software adapter" : ""}`,
      run: () => child.ask("run", {}, patience),
      check: async () => {
        await child.ask("check", { output: files.output, images: sampled }, patience);
        return { planes: await readPlanes(files.output) };
      },
    });
  } catch (error) {
    skip(match, what, error);
  } finally {
    rival?.[Symbol.dispose]();
  }
}

/** The images at `places` of a batch, as bytes or planes. */
function pick<T extends Uint8Array | Float32Array>(all: T, batch: number, places: readonly number[]): T {
  const each = all.length / batch;
  const picked = all.slice(0, places.length * each) as T;
  for (const [at, place] of places.entries()) picked.set(all.subarray(place * each, (place + 1) * each), at * each);
  return picked;
}

/** `stylized` by the plain schedule in f32, which every contestant must meet. */
async function referencePlanes(gpu: Gpu, engine: Engine, name: ModelName, adapter: AdapterChoice, job: Job) {
  if (gpu.profile.tier === "f32") return asFloats(await engine.run(job));
  using exact = await openGpu({ adapter, precision: "f32" });
  const other = await openModel(exact, name);
  try {
    return asFloats(await other.run(job));
  } finally {
    other.dispose();
  }
}

async function benchBatch(
  gpu: Gpu,
  engine: Engine,
  torch: Rival | Error,
  { name, batch, files, missing }: { name: ModelName; batch: number; files: Files; missing: string | undefined },
  { adapter, quick, root }: RivalsRequest,
  rows: RivalRow[],
  report: Report,
): Promise<void> {
  const { tier, software } = gpu.profile;
  const { config } = engine.model;
  const title = `${name} ×${batch}`;
  if (batch > engine.largestBatch("pair", batch)) {
    report.line(`\n${title} does not fit this device: at most ${engine.largestBatch("pair", batch)} images at a time`);
    return;
  }
  const [content, style] = [tiles(config, batch, 1), tiles(config, batch, 11)];
  const planes = { content: toPlanes(content, config), style: toPlanes(style, config) };
  const shape = [batch, config.in_channels, config.image_size, config.image_size];
  await writeSafetensors(files.inputs, Object.entries(planes).map(([key, data]) => [key, { shape, data }] as const)); // biome-ignore format: one line
  const sampled = [...new Set([0, batch - 1])];
  const some = { content: pick(planes.content, batch, sampled), style: pick(planes.style, batch, sampled) };
  const plain = { mode: "plain", images: sampled.length, input: "planes", output: "planes", ...some } as const;
  const reference = await referencePlanes(gpu, engine, name, adapter, plain);

  const common = { images: batch, input: "bytes", output: "bytes" } as const;
  const pair = { mode: "pair", ...common, content, style } satisfies Job;
  const budget = quick ? 3_000 : 8_000;
  // The software adapter is no place to wait for what is slow there.
  const patience = software ? 30_000 : 180_000;
  const match: Match = { name, batch, tier, reference, ours: () => timed(() => engine.run(pair)), budget, rows, report };

  const error = relativeError(asFloats(await engine.run({ ...plain, mode: "pair" })), reference);
  const painted = await engine.run(pair);
  const off = levelsOff(pick(painted, batch, sampled), reference, config);
  if (!(error <= BOUNDS[tier]) || !(off <= LEVELS[tier])) {
    report.fail(title, `ours is off by ${error.toExponential(1)} of the largest value, and a pixel by ${off} levels`);
    return;
  }
  report.line(
    `\n${title}, ${config.image_size} px: ours, ${tier}, ${blockPasses("pair", config.depth)} block passes, off by ${error.toExponential(1)} from plain f32`,
  );
  report.table(...COLUMNS);

  const page = await engine.createPage(batch);
  try {
    const styles = Array.from({ length: batch }, (_, i) => i);
    const banked = { mode: "banked", ...common, content, page, styles } satisfies Job;
    await engine.run({ mode: "style", images: batch, input: "bytes", output: "none", style, page, firstStyle: 0 });
    await compete(match, {
      name: `ours with a style bank, ${tier}`,
      kind: tier === "f32" ? "f32" : "f16",
      run: async () => ({ milliseconds: await timed(() => engine.run(banked)) }),
      check: async () => ({
        planes: pick(
          asFloats(await engine.run({ ...banked, input: "planes", output: "planes", content: planes.content })),
          batch,
          sampled,
        ),
        levels: levelsOff(pick(await engine.run(banked), batch, sampled), reference, config),
      }),
    });
  } finally {
    await engine.disposePage(page);
  }

  if (torch instanceof Error) skip(match, "PyTorch", torch);
  else {
    const naive = await competeTorch(match, torch, files, sampled, patience).catch((error) => skip(match, "PyTorch", error));
    if (naive !== undefined && tier !== "f32") {
      report.line(`error of ours in ${tier}: ${(error / naive).toFixed(2)} of PyTorch's in eager f16, ${NAIVE} allowed`);
      if (!(error <= NAIVE * naive))
        report.fail(title, `${tier} is off by ${error.toExponential(1)}, more than ${NAIVE} × ${naive}`);
    }
  }

  if (missing) skip(match, "onnxruntime-node", missing);
  else {
    const graphs = [
      { graph: files.graph, provider: "cpu", kind: "f32" },
      { graph: files.graph, provider: "webgpu", kind: "f32" },
      ...(tier !== "f32" ? [{ graph: files.float16Graph, provider: "webgpu", kind: "f16" } as const] : []),
    ] as const;
    for (const each of graphs) await competeOnnxruntime(match, { ...each, software, root }, files, sampled, patience);
  }

  const images = (pixels: Uint8Array) =>
    Array.from({ length: batch }, (_, i) => {
      const { image_size: size, in_channels: channels } = config;
      return { data: pick(pixels, batch, [i]), width: size, height: size, channels: channels as 1 | 3 };
    });
  const [contents, styles] = [images(content), images(style)];
  await compete(match, {
    name: "colour match, closed form, one thread (no model)",
    run: async () => ({ milliseconds: await timed(() => contents.map((one, i) => matchColour(one, styles[i]!))) }),
    // Another function than the model, with another promise: the means of the style.
    check: async () => {
      const means = ({ data, channels }: PixelImage) =>
        Array.from(
          { length: channels },
          (_, c) => data.reduce((sum, x, at) => sum + (at % channels === c ? x : 0), 0) / (data.length / channels),
        );
      const wanted = means(styles[0]!);
      return { levels: Math.max(...means(matchColour(contents[0]!, styles[0]!)).map((mean, c) => Math.abs(mean - wanted[c]!))) };
    },
  });
}

/** GEMMs and attention of base at batch 64, three streams at once, in torch's f16 and in ours, in turns. */
async function benchRivalOps(gpu: Gpu, torch: Rival, clock: Clock, report: Report): Promise<void> {
  const { tier } = gpu.profile;
  const rows = report.section<RivalOpRow>("rivalOps", `Kernels beside PyTorch's, ours in ${tier}, its in f16`);
  report.table(["op", 30], ["PyTorch", 9], ["TFLOP/s", 8], ["ours", 9], ["TFLOP/s", 8], ["ours over it", 12]);
  const tuner = new Tuner(gpu, "auto");
  const linear = (rows: number, depth: number, cols: number) =>
    [
      "linear",
      "gemm",
      { rows, depth, cols },
      () =>
        linearOp.setup({ name: "rival", bench: { batch: 64 }, rows, depth, cols, epilogue: "none", result: "elem" }, gpu.profile),
    ] as const;
  const attention = (sequences: number, heads: number, tokens: number, head: number) =>
    ["attention", "attention", { sequences, heads, tokens, head }, () => attentionOp.setup({ name: "rival", bench: { batch: 64 }, sequences, tokens, heads, headSize: head, kind: "self" }, gpu.profile)] as const; // biome-ignore format: a table
  for (const [op, question, parameters, setUp] of [
    linear(37824, 768, 2304),
    linear(37824, 768, 3072),
    attention(64, 12, 197, 64),
  ]) {
    const setup = setUp();
    const bound = await bindTuned(gpu, setup, tuner);
    try {
      const { error, allowed } = await check(bound, setup);
      if (!(error <= allowed)) {
        report.fail(`${op} ${setup.shape}`, `off by ${error.toExponential(1)} of the largest value`);
        continue;
      }
      const [theirs, ours]: [number[], number[]] = [[], []];
      for (let round = 0; round < 5; round++) {
        ours.push(median(await timeDispatch(bound, clock, { budget: 20, fewest: 10, most: 50 })));
        theirs.push(median((await torch.ask<{ samples: number[] }>(question, parameters, 60_000)).samples));
      }
      const teraflops = (milliseconds: number) => setup.flops / milliseconds / 1e9;
      const row: RivalOpRow = {
        op,
        shape: setup.shape,
        tier,
        rival: torch.hello.name,
        milliseconds: median(theirs),
        teraflops: teraflops(median(theirs)),
        ours: { milliseconds: median(ours), teraflops: teraflops(median(ours)) },
        ratio: median(theirs.map((time, i) => time / ours[i]!)),
      };
      rows.push(row);
      report.row(
        `${op} ${setup.shape}`,
        duration(row.milliseconds),
        number(row.teraflops),
        duration(row.ours.milliseconds),
        number(row.ours.teraflops),
        number(row.ratio),
      );
    } catch (error) {
      report.line(`${op} ${setup.shape}: not measured: ${messageOf(error)}`);
    } finally {
      bound.dispose();
    }
  }
}

/** The parameters in one F32 file, under their published keys. */
async function writeWeights(model: string, options: OpenOptions, file: string): Promise<void> {
  await using source = await (await findModel(model, options)).open();
  const tensors = [...source.shapes].map(([key, shape]) => [key, { shape, data: () => source.read(key) }] as const);
  await writeSafetensors(file, tensors);
}

/** Ours beside what else runs this model, on the same inputs, each checked against our f32 result and then timed in turns. */
export async function benchRivals(gpu: Gpu, request: RivalsRequest, report: Report): Promise<void> {
  const { tier } = gpu.profile;
  const rows = report.section<RivalRow>(
    "rivals",
    `Rivals, ours in ${tier} (pixels in, pixels out; onnxruntime: planes in, planes out; in turns, each checked first)`,
  );
  const missing = await installRivals(request.root);
  let torch: Rival | Error = await startTorch(request.root).catch((error: Error) => error);
  const folder = await mkdtemp(join(tmpdir(), "stylizing-vit-rivals-"));
  const files: Files = {
    weights: join(folder, "weights.safetensors"),
    graph: join(folder, "model.onnx"),
    float16Graph: join(folder, "half.onnx"),
    inputs: join(folder, "inputs.safetensors"),
    output: join(folder, "output.safetensors"),
  };
  try {
    for (const name of request.models) {
      const engine = await openModel(gpu, name);
      try {
        const { model, options } = benchModelSource(name);
        if (torch instanceof Rival) {
          await writeWeights(model, options, files.weights);
          await torch.ask("load", { weights: files.weights, config: engine.model.config }, 60_000).catch((error) => {
            torch = error;
          });
        }
        if (!missing) {
          await exportOnnx(model, files.graph, options);
          if (tier !== "f32") await exportOnnx(model, files.float16Graph, { ...options, half: true });
        }
        for (const batch of request.batches)
          await benchBatch(gpu, engine, torch, { name, batch, files, missing }, request, rows, report);
      } finally {
        engine.dispose();
      }
    }
    if (torch instanceof Rival && torch.hello.cuda && !gpu.profile.software)
      await benchRivalOps(gpu, torch, request.clock, report);
    report.line("ours over it: its time over ours, the median of neighbouring runs; below 1 it is the faster one");
  } finally {
    if (torch instanceof Rival) torch[Symbol.dispose]();
    await rm(folder, { recursive: true, force: true });
  }
}
