import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import type { Gpu } from "../src/gpu/gpu.js";
import { ImagePool } from "../src/image/pool.js";
import { paintTissue, type StreamTiming, StylizingViT } from "../src/index.js";
import type { Job } from "../src/painter/engine.js";
import { benchModelSource, openModel } from "./model.js";
import type { ModelName } from "./options.js";
import { duration, number, percent, type Report } from "./report.js";
import { median } from "./statistics.js";

/** Side of the files, in pixels: a common size of tiles. */
const SIDE = 512;
const QUALITY = 90;
/** Images that are drawn; the others are these, rotated and mirrored: a file may not come twice in a batch, which reads it once. */
const DRAWN = 16;
const TURNS = 8;
/** JavaScript time a batch is measured at this size, which it hardly depends on. */
const HOST_BATCH = 64;

export interface FilesRow {
  model: string;
  tier: string;
  batch: number;
  batches: number;
  /** Threads that decode, and threads of libuv, which sharp's own work runs on. */
  workers: number;
  libuvThreads: number;
  /** Pairs a second: the device alone with pixels in memory, decoding alone (two files a pair), and from files to pixels. */
  modelAlone: number;
  decodingAlone: number;
  endToEnd: number;
  /** The same with the time until the first batch was there. */
  endToEndWithStart: number;
  /** Median over rounds of end to end by model alone. */
  ratio: number;
  busy: number;
  limit: "decoding" | "model";
  timing: StreamTiming;
  /** Median milliseconds of JavaScript that encoding and submitting a batch took, and of handing its pixels over. */
  hostMilliseconds: number;
  uploadMilliseconds: number;
  hostBatch: number;
}

/** Writes `count` JPEG files, no two alike. @returns their paths. */
async function drawFiles(folder: string, count: number): Promise<string[]> {
  const files: string[] = [];
  const drawn = new Map<number, Uint8Array>();
  for (let i = 0; i < count; i++) {
    const turn = Math.floor(i / DRAWN) % TURNS;
    const seed = (i % DRAWN) + DRAWN * Math.floor(i / (DRAWN * TURNS));
    const data = drawn.get(seed) ?? paintTissue({ size: SIDE, seed, hospital: seed % 5 }).data;
    drawn.set(seed, data);
    const file = join(folder, `${i}.jpg`);
    await sharp(data, { raw: { width: SIDE, height: SIDE, channels: 3 } })
      .rotate(90 * (turn % 4))
      .flop(turn >= 4)
      .jpeg({ quality: QUALITY })
      .toFile(file);
    files.push(file);
  }
  return files;
}

export interface FilesRequest {
  name: ModelName;
  batches: readonly number[];
  /** Milliseconds that one round of each measurement should take. */
  budget: number;
  rounds: number;
  /** Whether JavaScript time is measured at a batch of its own. */
  hostBatch: boolean;
}

export async function benchFiles(gpu: Gpu, request: FilesRequest, report: Report): Promise<void> {
  const { name, batches } = request;
  const rows = report.section<FilesRow>(
    "files",
    `From files, ${name}, ${gpu.profile.tier} (JPEG of ${SIDE} × ${SIDE} to pixels, through stream(); host's clock)`,
  );
  const folder = await mkdtemp(join(tmpdir(), "stylizing-vit-bench-"));
  try {
    const files = await drawFiles(folder, 2 * Math.max(...batches));
    for (const batch of batches) await benchBatch(gpu, request, batch, files, rows, report);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function benchBatch(
  gpu: Gpu,
  { name, budget, rounds, hostBatch }: FilesRequest,
  batch: number,
  files: readonly string[],
  rows: FilesRow[],
  report: Report,
): Promise<void> {
  const { tier, software } = gpu.profile;
  const title = `files, ${name} ×${batch}`;
  const engine = await openModel(gpu, name);
  const { model: label, options } = benchModelSource(name);
  const model = await StylizingViT.load(label, { ...options, device: gpu.device, precision: tier, batchSize: batch });
  const pool = new ImagePool();
  try {
    if (model.batchSize < batch) {
      report.line(`\n${title} does not fit this device: at most ${model.batchSize} images at a time`);
      return;
    }
    const { image_size: size, in_channels } = model.config;
    const channels = in_channels as 1 | 3;
    const contents = files.slice(0, batch);
    const styles = files.slice(batch, 2 * batch);
    const pairs = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ content: contents[i % batch]!, style: styles[i % batch]! }));

    // Read by the pool and painted by the engine, against read and painted by the stream: not a byte may differ.
    const read = (list: readonly string[]) => Promise.all(list.map((file) => pool.load({ file, size, channels })));
    const [content, style] = [await read(contents), await read(styles)];
    const pixels = (list: typeof content) => Buffer.concat(list.map(({ data }) => data));
    const job: Job = {
      mode: "pair",
      images: batch,
      input: "bytes",
      output: "bytes",
      content: pixels(content),
      style: pixels(style),
    };
    const expected = Buffer.from(await engine.run(job));
    for await (const { images } of model.stream(pairs(batch))) {
      const got = Buffer.concat(images.map(({ data }) => data as Uint8Array));
      if (got.equals(expected)) continue;
      report.fail(title, "the stream's images are not those of the engine");
      return;
    }

    const once = performance.now();
    await engine.run(job);
    const count = Math.max(4, Math.min(64, Math.round(budget / (performance.now() - once))));
    const alone = async () => {
      const start = performance.now();
      await Promise.all(Array.from({ length: count }, () => engine.run(job)));
      return (1000 * count * batch) / (performance.now() - start);
    };
    const decoding = async () => {
      const list = Array.from({ length: Math.min(count, Math.ceil(256 / batch)) }, () => files.slice(0, 2 * batch)).flat();
      const start = performance.now();
      await read(list);
      return (1000 * list.length) / 2 / (performance.now() - start);
    };
    const streamed = async () => {
      const start = performance.now();
      let [first, last] = [0, 0];
      let timing: StreamTiming | undefined;
      const each: { host: number; upload: number }[] = [];
      const stream = model.stream(pairs(count * batch), {
        onTiming: (total) => {
          timing = total;
        },
      });
      for await (const painted of stream) {
        last = performance.now();
        first ||= last;
        each.push(painted.timing);
      }
      const rate = (1000 * (count - 1) * batch) / (last - first);
      return { rate, withStart: (1000 * count * batch) / (last - start), timing: timing!, each };
    };

    // Taking turns, so that whatever else the machine does falls on all of them.
    const results: { alone: number; decoding: number; streamed: Awaited<ReturnType<typeof streamed>> }[] = [];
    for (let round = 0; round < rounds; round++) {
      results.push({ alone: await alone(), decoding: await decoding(), streamed: await streamed() });
    }
    const of = (value: (result: (typeof results)[number]) => number) => median(results.map(value));
    const ratio = of((result) => result.streamed.rate / result.alone);
    const best = results.find((result) => result.streamed.rate / result.alone >= ratio)!;
    let each = results.flatMap((result) => result.streamed.each);
    let measuredAt = batch;
    if (hostBatch && batch < HOST_BATCH) {
      const big = await hostCost(gpu, name);
      if (big) [each, measuredAt] = [big.each, big.batch];
    }
    const [modelAlone, decodingAlone] = [of((result) => result.alone), of((result) => result.decoding)];
    const row: FilesRow = {
      model: name,
      tier,
      batch,
      batches: count,
      workers: pool.workers,
      libuvThreads: Number(process.env.UV_THREADPOOL_SIZE ?? 4),
      modelAlone,
      decodingAlone,
      endToEnd: of((result) => result.streamed.rate),
      endToEndWithStart: of((result) => result.streamed.withStart),
      ratio,
      busy: of((result) => result.streamed.timing.busy),
      limit: decodingAlone < modelAlone ? "decoding" : "model",
      timing: best.streamed.timing,
      hostMilliseconds: median(each.map(({ host }) => host)),
      uploadMilliseconds: median(each.map(({ upload }) => upload)),
      hostBatch: measuredAt,
    };
    rows.push(row);
    print(row, software, report);
  } finally {
    await model[Symbol.asyncDispose]();
    await pool.dispose();
    engine.dispose();
  }
}

/** JavaScript time of the batches of a stream at a batch of 64, with pixels in memory; undefined where that does not fit. */
async function hostCost(
  gpu: Gpu,
  name: ModelName,
): Promise<{ batch: number; each: { host: number; upload: number }[] } | undefined> {
  const { model: label, options } = benchModelSource(name);
  const { tier } = gpu.profile;
  await using model = await StylizingViT.load(label, { ...options, device: gpu.device, precision: tier, batchSize: HOST_BATCH });
  const batch = model.batchSize;
  const { image_size: size, in_channels: channels } = model.config;
  const image = { data: new Uint8Array(size * size * channels).fill(180), width: size, height: size, channels };
  const each: { host: number; upload: number }[] = [];
  for await (const { timing } of model.stream(Array.from({ length: 4 * batch }, () => ({ content: image, style: image }))))
    each.push(timing);
  // The first one binds its schedule.
  return { batch, each: each.slice(1) };
}

function print(row: FilesRow, software: boolean, report: Report): void {
  report.line(`\nbatch ${row.batch}, ${row.batches} batches, ${row.workers} decoding threads over ${row.libuvThreads} of libuv`);
  report.table(["", 40], ["pairs/s", 9]);
  report.row("model alone, pixels in memory", number(row.modelAlone));
  report.row("decoding alone, two files a pair", number(row.decodingAlone));
  report.row("from files to pixels, after the first batch", number(row.endToEnd));
  report.row("from files to pixels, with the first batch", number(row.endToEndWithStart));
  report.line(
    `from files by model alone: ${percent(row.ratio)}; the device computed ${percent(row.busy)} of the time (${row.timing.clock}'s clock); the limit is ${row.limit === "model" ? "the model" : "decoding"}` +
      `${software ? "; both share the same cores here" : ""}`,
  );
  report.line(
    `JavaScript a batch of ${row.hostBatch}: ${duration(row.hostMilliseconds)} to encode and submit, ${duration(row.uploadMilliseconds)} to hand its pixels over`,
  );
}
