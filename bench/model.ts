import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Gpu } from "../src/gpu/gpu.js";
import { SafetensorsFile } from "../src/hub/safetensors.js";
import { paintTissue } from "../src/index.js";
import { findModel, type OpenOptions } from "../src/models/open.js";
import type { ModelConfig } from "../src/models/stylizing-vit/config.js";
import { blockPasses, type Mode } from "../src/models/stylizing-vit/modes.js";
import { MODEL_TOLERANCE } from "../src/models/stylizing-vit/tolerance.js";
import { asFloats } from "../src/net/pixels.js";
import { Engine, type Job } from "../src/painter/engine.js";
import type { ModelName } from "./options.js";
import { duration, mebibytes, number, percent, type Report } from "./report.js";
import { median, relativeError, type Summary, summarize } from "./statistics.js";

/** Levels of 8 bits by which a rounded result may differ from the rounded reference. */
export const LEVELS = { f32: 1, f16: 6, matrix: 6 } as const;

const STATISTICS = { mean: [0.6, 0.45, 0.6], std: [0.2, 0.2, 0.18] };

/** What to call a model of the benches where names of users' are taken. */
export function benchModelSource(name: ModelName): { model: string; options: Omit<OpenOptions, "onProgress"> } {
  return name === "demo" ? { model: "demo", options: {} } : { model: "hashed:5", options: { preset: name, ...STATISTICS } };
}

export async function openModel(gpu: Gpu, name: ModelName): Promise<Engine> {
  const { model, options } = benchModelSource(name);
  const found = await findModel(model, options);
  await using source = await found.open();
  return await Engine.create(gpu, found.config, source);
}

/** The small golden case against PyTorch, on this device: without it no model is timed. */
export async function checkNano(gpu: Gpu, report: Report, root: string): Promise<boolean> {
  const folder = join(root, "test", "fixtures", "nano");
  const { config } = JSON.parse(await readFile(join(folder, "case.json"), "utf8")) as { config: ModelConfig };
  const model = await findModel(join(folder, "weights.safetensors"), { config });
  await using file = await SafetensorsFile.open(join(folder, "case.safetensors"));
  await using source = await model.open();
  const engine = await Engine.create(gpu, config, source);
  try {
    const [content, style, expected] = [await file.read("content"), await file.read("style"), await file.read("stylized")];
    const images = content.length / (config.in_channels * config.image_size ** 2);
    const result = await engine.run({ mode: "pair", images, input: "planes", output: "planes", content, style });
    const error = relativeError(asFloats(result), expected);
    if (error <= MODEL_TOLERANCE[gpu.profile.tier]) return true;
    report.fail("whole models", `the golden case nano is off by ${error.toExponential(1)} of the largest value`);
    return false;
  } finally {
    engine.dispose();
  }
}

export interface ModelRow {
  model: string;
  tier: string;
  batch: number;
  imageSize: number;
  /** Milliseconds of a batch from the call to pixels on the host, one at a time, by mode. */
  milliseconds: Partial<Record<Mode, Summary>>;
  imagesPerSecond: number;
  /** With two batches under way, as `stream` keeps them. */
  streamedImagesPerSecond: number;
  /** Error of `pair` against `plain`, of the largest value. */
  error: number;
  /** Pairs over mode: measured in this run, and by block passes. */
  savings: { mode: Mode; measured: number; passes: number; what: string }[];
  kernels: { kernel: string; dispatches: number; milliseconds: number; share: number }[] | undefined;
  deviceBytes: number;
}

/** Pixels of `count` drawn tiles, [count, S, S, C]. */
export function tiles(config: ModelConfig, count: number, seed: number): Uint8Array {
  const size = config.image_size;
  const each = size * size * 3;
  // Painting a tile costs more than a small model does: four of them, repeated.
  const painted = Array.from(
    { length: Math.min(count, 4) },
    (_, i) => paintTissue({ size, seed: seed + i, hospital: (seed + i) % 5 }).data,
  );
  const all = new Uint8Array(count * each);
  for (let i = 0; i < count; i++) all.set(painted[i % painted.length]!, i * each);
  return all;
}

/** [B, S, S, C] bytes to normalised [B, C, S, S], as patchify reads them. */
export function toPlanes(pixels: Uint8Array, config: ModelConfig): Float32Array {
  const { image_size: s, in_channels: channels, mean, std } = config;
  const plane = s * s;
  const planes = new Float32Array(pixels.length);
  for (let at = 0; at < pixels.length; at++) {
    const c = at % channels;
    const image = Math.floor(at / channels / plane);
    planes[(image * channels + c) * plane + (Math.floor(at / channels) % plane)] = (pixels[at]! / 255 - mean![c]!) / std![c]!;
  }
  return planes;
}

/** Largest difference in levels between bytes and planes that are rounded here. */
export function levelsOff(pixels: Uint8Array, planes: Float32Array, config: ModelConfig): number {
  const { image_size: s, in_channels: channels, mean, std } = config;
  const plane = s * s;
  let worst = 0;
  for (let at = 0; at < pixels.length; at++) {
    const c = at % channels;
    const image = Math.floor(at / channels / plane);
    const value = planes[(image * channels + c) * plane + (Math.floor(at / channels) % plane)]! * std![c]! + mean![c]!;
    const difference = Math.abs(pixels[at]! - Math.round(255 * Math.min(1, Math.max(0, value))));
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

export interface ModelRequest {
  name: ModelName;
  batches: readonly number[];
  quick: boolean;
}

export async function benchModel(gpu: Gpu, { name, batches, quick }: ModelRequest, report: Report): Promise<void> {
  const { tier } = gpu.profile;
  const rows = report.section<ModelRow>(
    "models",
    `Model ${name}, ${tier} (host's clock: pixels in, pixels out; checked against the plain schedule)`,
  );
  const engine = await openModel(gpu, name);
  try {
    const { config } = engine.model;
    report.line(
      `${config.image_size} px, ${config.depth} layers of ${config.embed_dim} in ${config.num_heads} heads, weights of ${mebibytes(gpu.allocatedBytes)} on the device`,
    );
    for (const batch of batches) await benchBatch(gpu, engine, name, batch, quick, rows, report);
  } finally {
    engine.dispose();
  }
}

async function benchBatch(
  gpu: Gpu,
  engine: Engine,
  name: string,
  batch: number,
  quick: boolean,
  rows: ModelRow[],
  report: Report,
): Promise<void> {
  const { config } = engine.model;
  const { tier } = gpu.profile;
  const title = `${name} ×${batch}`;
  if (batch > engine.largestBatch("plain", batch)) {
    report.line(`\n${title} does not fit this device: at most ${engine.largestBatch("plain", batch)} images at a time`);
    return;
  }
  const content = tiles(config, batch, 1);
  const style = tiles(config, batch, 11);
  const styles = Array.from({ length: batch }, (_, i) => i);
  const each = content.length / batch;
  const page = await engine.createPage(batch);
  const kept = engine.takeKept();
  const one = content.subarray(0, each);
  const common = { images: batch, input: "bytes", output: "bytes" } as const;
  const jobs = {
    pair: { mode: "pair", ...common, content, style },
    plain: { mode: "plain", ...common, content, style },
    banked: { mode: "banked", ...common, content, page, styles },
    restyle: { mode: "restyle", ...common, page, styles, kept },
  } satisfies Record<string, Job>;
  try {
    // Bank and kept content, made once: `style` and `content` are not part of what is compared, they are what is saved.
    const prepare = async () => {
      await engine.run({ mode: "style", images: batch, input: "bytes", output: "none", style, page, firstStyle: 0 });
      await engine.run({ mode: "content", images: 1, input: "bytes", output: "none", content: one, kept });
    };
    await prepare();

    // Two images of the batch, all of whose streams are computed plainly, against every schedule that is to be timed.
    const sampled = [...new Set([0, batch - 1])];
    const pick = (pixels: Uint8Array, places: readonly number[]) => {
      const all = new Uint8Array(places.length * each);
      for (const [index, place] of places.entries()) all.set(pixels.subarray(place * each, (place + 1) * each), index * each);
      return all;
    };
    const planes = async (mode: "pair" | "plain", contents: Uint8Array) =>
      asFloats(
        await engine.run({
          mode,
          images: sampled.length,
          input: "planes",
          output: "planes",
          content: toPlanes(contents, config),
          style: toPlanes(pick(style, sampled), config),
        }),
      );
    const truth = await planes("plain", pick(content, sampled));
    const error = relativeError(await planes("pair", pick(content, sampled)), truth);
    if (!(error <= MODEL_TOLERANCE[tier])) {
      report.fail(title, `pairs are off by ${error.toExponential(1)} of the largest value`);
      return;
    }
    const shared = await planes(
      "plain",
      pick(
        content,
        sampled.map(() => 0),
      ),
    );
    for (const [mode, reference] of [
      ["pair", truth],
      ["banked", truth],
      ["restyle", shared],
    ] as const) {
      // biome-ignore format: a table
      const off = levelsOff(pick(await engine.run(jobs[mode]), sampled), reference, config);
      if (!(off <= LEVELS[tier])) {
        report.fail(`${title}, ${mode}`, `a pixel is off by ${off} levels`);
        return;
      }
    }

    // Modes take turns, so that whatever else the machine does falls on all of them.
    const modes = ["pair", "banked", "restyle", "plain"] as const;
    const times: Record<(typeof modes)[number], number[]> = { pair: [], banked: [], restyle: [], plain: [] };
    const timed = async (job: Job) => {
      const start = performance.now();
      await engine.run(job);
      return performance.now() - start;
    };
    // Twice each: the first run may compile, and by the second the engine knows how long it may sleep.
    for (const mode of [...modes, ...modes]) await timed(jobs[mode]);
    const once = await timed(jobs.pair);
    const budget = quick ? 2_000 : gpu.profile.software ? 4_000 : 8_000;
    const repeats = Math.max(quick ? 2 : 3, Math.min(30, Math.round(budget / once / 3.5)));
    for (let i = 0; i < repeats; i++) for (const mode of modes) times[mode].push(await timed(jobs[mode]));

    const many = Math.max(2, Math.min(20, Math.round(budget / 4 / once)));
    const start = performance.now();
    await Promise.all(Array.from({ length: many }, () => engine.run(jobs.pair)));
    const streamed = (1000 * batch * many) / (performance.now() - start);

    const summaries = Object.fromEntries(modes.map((mode) => [mode, summarize(times[mode])])) as Record<
      (typeof modes)[number],
      Summary
    >;
    const passes = (mode: Mode) => blockPasses(mode, config.depth);
    const savings = (
      [
        ["plain", "as published"],
        ["banked", "a bank of styles"],
        ["restyle", "many styles for one content"],
      ] as const
    ).map(([mode, what]) => ({
      // biome-ignore format: a table
      mode,
      what,
      // Of neighbouring runs, then the median: slow spells cancel.
      measured: median(times.pair.map((time, i) => time / times[mode][i]!)),
      passes: passes("pair") / passes(mode),
    }));
    const row: ModelRow = {
      model: name,
      tier,
      batch,
      imageSize: config.image_size,
      milliseconds: summaries,
      imagesPerSecond: (1000 * batch) / summaries.pair.median,
      streamedImagesPerSecond: streamed,
      error,
      savings,
      kernels: await kernelShares(engine, jobs.pair, quick || once > 1000 ? 1 : 3),
      deviceBytes: gpu.allocatedBytes,
    };
    rows.push(row);
    print(row, passes, report);
  } finally {
    await engine.disposePage(page);
    engine.returnKept(kept);
  }
}

/** Device time of a pass of pairs by kernel, all its variants together: the median over passes of each sum. */
async function kernelShares(engine: Engine, job: Job, repeats: number): Promise<ModelRow["kernels"]> {
  const sums = new Map<string, { dispatches: number; times: number[] }>();
  for (let i = 0; i < repeats; i++) {
    const times = await engine.profile(job);
    if (!times || times.some(({ milliseconds }) => Number.isNaN(milliseconds))) return undefined;
    const pass = new Map<string, { dispatches: number; time: number }>();
    for (const { label, milliseconds } of times) {
      const kernel = label.replace(/[<(].*$/, "");
      const { dispatches, time } = pass.get(kernel) ?? { dispatches: 0, time: 0 };
      pass.set(kernel, { dispatches: dispatches + 1, time: time + milliseconds });
    }
    for (const [kernel, { dispatches, time }] of pass)
      sums.set(kernel, { dispatches, times: [...(sums.get(kernel)?.times ?? []), time] });
  }
  const kernels = [...sums].map(([kernel, { dispatches, times }]) => ({ kernel, dispatches, milliseconds: median(times) }));
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  return kernels.map((kernel) => ({ ...kernel, share: kernel.milliseconds / total })).sort((a, b) => b.share - a.share);
}

function print(row: ModelRow, passes: (mode: Mode) => number, report: Report): void {
  report.line(
    `\nbatch ${row.batch}: ${number(row.imagesPerSecond)} images/s one batch at a time, ${number(row.streamedImagesPerSecond)} with two under way; ${mebibytes(row.deviceBytes)} on the device`,
  );
  report.table(
    ["schedule", 40],
    ["passes", 7],
    ["median", 9],
    ["p10", 9],
    ["p90", 9],
    ["images/s", 9],
    ["speed-up", 9],
    ["by passes", 10],
  );
  const line = (mode: Mode, what: string, measured?: number, expected?: number) => {
    const time = row.milliseconds[mode]!;
    report.row(
      `${mode}: ${what}`,
      String(passes(mode)),
      duration(time.median),
      duration(time.p10),
      duration(time.p90),
      number((1000 * row.batch) / time.median),
      measured === undefined ? "1" : measured.toFixed(2),
      expected === undefined ? "1" : expected.toFixed(2),
    );
  };
  line("pair", "content with style");
  for (const { mode, what, measured, passes: expected } of row.savings) line(mode, what, measured, expected);
  if (!row.kernels) {
    report.line("share of time by kernel: this device gives no usable timestamps");
    return;
  }
  report.line();
  report.table(["device time of a pass of pairs", 40], ["count", 7], ["time", 9], ["share", 9]);
  for (const { kernel, dispatches, milliseconds, share } of row.kernels) {
    if (share < 0.001) continue;
    report.row(kernel, String(dispatches), duration(milliseconds), percent(share), "█".repeat(Math.round(share * 40)));
  }
}
