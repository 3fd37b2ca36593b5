import assert from "node:assert/strict";
import { join } from "node:path";
import Benchmark from "benchmark";
import sharp from "sharp";
import type { Gpu } from "../src/gpu/gpu.js";
import { Checkpoint } from "../src/hub/checkpoint.js";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../src/hub/float16.js";
import { hashedUniform } from "../src/hub/hashed.js";
import { SafetensorsFile } from "../src/hub/safetensors.js";
import { loadSquare } from "../src/image/preprocess.js";
import { paintTissue } from "../src/index.js";
import { findModel } from "../src/models/open.js";
import { recordMode } from "../src/models/stylizing-vit/programs.js";
import { uploadModel } from "../src/models/stylizing-vit/weights.js";
import { Runner } from "../src/net/runner.js";
import { duration, number, type Report } from "./report.js";
import { type Summary, summarize } from "./statistics.js";

export interface HostRow {
  what: string;
  milliseconds: Summary;
  /** Work a call, where there is a unit of it. */
  each?: { unit: string; count: number };
}

interface Suite {
  what: string;
  /** Throws where what is to be timed is wrong. */
  check(): void | Promise<void>;
  run: (() => unknown) | (() => Promise<unknown>);
  deferred?: boolean;
  each?: { unit: string; count: number };
}

/** Milliseconds of single calls, as Benchmark.js samples them (each sample is the mean of as many as it takes to resolve). */
function time({ what, run, deferred = false }: Suite, seconds: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const settings = { maxTime: seconds, minSamples: 10, async: true };
    const bench = deferred
      ? new Benchmark(
          what,
          (deferral: { resolve(): void }) => void (run() as Promise<unknown>).then(() => deferral.resolve(), reject),
          { ...settings, defer: true },
        )
      : new Benchmark(what, run as () => void, settings);
    bench.on("complete", () => (bench.error ? reject(bench.error) : resolve(bench.stats.sample.map((s: number) => 1000 * s))));
    bench.run({ async: true });
  });
}

export async function benchHost(gpu: Gpu, quick: boolean, report: Report, root: string): Promise<void> {
  const rows = report.section<HostRow>("host", "Host (JavaScript, by Benchmark.js; each checked first)");
  report.table(["what", 62], ["median", 9], ["p10", 9], ["p90", 9], ["per second", 11]);
  const encoding = await encodingOfDemo(gpu);
  try {
    for (const suite of [...encoding.suites, ...(await suites(root))]) {
      try {
        await suite.check();
      } catch (error) {
        report.fail(suite.what, (error as Error).message);
        continue;
      }
      const milliseconds = summarize(await time(suite, quick ? 0.3 : 1));
      rows.push({ what: suite.what, milliseconds, ...(suite.each ? { each: suite.each } : {}) });
      const { unit, count } = suite.each ?? { unit: "", count: 1 };
      const rate = (1000 * count) / milliseconds.median;
      report.row(
        suite.what,
        duration(milliseconds.median),
        duration(milliseconds.p10),
        duration(milliseconds.p90),
        `${rate >= 1e6 ? `${number(rate / 1e6)} M` : number(rate)}${unit && ` ${unit}`}`,
      );
    }
  } finally {
    encoding.dispose();
  }
}

/** What the host does for each batch while the device works on the one before: encode the pass. */
async function encodingOfDemo(gpu: Gpu): Promise<{ suites: Suite[]; dispose(): void }> {
  const found = await findModel("demo");
  await using source = await found.open();
  const model = await uploadModel(gpu, found.config, source);
  const runner = new Runner(gpu);
  const request = { mode: "pair", images: 1, input: "bytes", output: "bytes" } as const;
  const bound = (key: string) =>
    runner.exclusively(() => runner.program(key, `the ${key} pass`, (r) => recordMode(r, model, request)));
  const { program } = await bound("encoded");
  const encode = () => {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    program.encode(pass);
    pass.end();
    return encoder.finish();
  };
  const check = () =>
    gpu.checked("the encoded pass", async () => {
      gpu.device.queue.submit([encode()]);
      await gpu.device.queue.onSubmittedWorkDone();
    });
  const count = program.dispatches.length;
  return {
    suites: [
      { what: `encode one forward pass of demo (${count} dispatches)`, check, run: encode, each: { unit: "dispatches", count } },
      {
        what: "bind one forward pass of demo (a batch size seen first)",
        check,
        deferred: true,
        async run() {
          await bound("bound");
          runner.drop((key) => key === "bound");
        },
      },
    ],
    dispose() {
      runner.dispose();
      gpu.release(...model.buffers);
    },
  };
}

async function suites(root: string): Promise<Suite[]> {
  const path = join(root, "weights", "demo", "model.safetensors");
  const size = 512;
  const tile = paintTissue({ size, seed: 1 });
  const raw = { width: size, height: size, channels: 3 } as const;
  const png = await sharp(tile.data, { raw }).png().toBuffer();
  const jpeg = await sharp(tile.data, { raw }).jpeg({ quality: 90 }).toBuffer();
  const mean = (pixels: Uint8Array) => pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
  const load = (kind: string, file: Uint8Array, tolerance: number): Suite => ({
    what: `preprocess a ${size}-px ${kind} to 224 px (loadSquare)`,
    deferred: true,
    async check() {
      const { data, width, height } = await loadSquare(file, 224, 3);
      assert.equal(data.length, width * height * 3);
      assert.equal(width, 224);
      assert.ok(Math.abs(mean(data) - mean(tile.data)) < tolerance, "the image's mean changed");
    },
    run: () => loadSquare(file, 224, 3),
    each: { unit: "images", count: 1 },
  });
  const floats = hashedUniform("float16", 2 ** 20, 1);
  const float16s = float32ToFloat16Bits(floats);
  return [
    {
      what: "parse a safetensors header (demo's checkpoint)",
      deferred: true,
      async check() {
        await using file = await SafetensorsFile.open(path);
        assert.ok(file.tensors.has("encoder.cls_token"));
      },
      run: async () => (await SafetensorsFile.open(path)).close(),
    },
    {
      what: "read every tensor of demo's checkpoint",
      deferred: true,
      async check() {
        await using checkpoint = await Checkpoint.open(path);
        for (const [key, shape] of checkpoint.shapes)
          assert.equal(
            (await checkpoint.read(key)).length,
            shape.reduce((a, b) => a * b, 1),
          );
      },
      async run() {
        await using checkpoint = await Checkpoint.open(path);
        for (const key of checkpoint.shapes.keys()) await checkpoint.read(key);
      },
    },
    load("PNG", png, 0.5),
    load("JPEG", jpeg, 1),
    {
      what: "float32 to float16, 1 Mi numbers",
      check() {
        const back = float16BitsToFloat32(float16s);
        const wrong = back.findIndex(
          (value, at) => !(Math.abs(value - floats[at]!) <= Math.max(2 ** -11 * Math.abs(floats[at]!), 2 ** -25)),
        );
        assert.equal(wrong, -1, `number ${wrong} is not the nearest float16`);
      },
      run: () => float32ToFloat16Bits(floats),
      each: { unit: "numbers", count: floats.length },
    },
    {
      what: "float16 to float32, 1 Mi numbers",
      check: () => assert.deepEqual(float32ToFloat16Bits(float16BitsToFloat32(float16s)), float16s),
      run: () => float16BitsToFloat32(float16s),
      each: { unit: "numbers", count: float16s.length },
    },
    ...[96, 224].map(
      (side): Suite => ({
        what: `draw a tile of tissue, ${side} px`,
        check() {
          const [once, again] = [paintTissue({ size: side, seed: 3 }), paintTissue({ size: side, seed: 3 })];
          assert.deepEqual(once.data, again.data);
          assert.ok(
            once.data.some((value) => value !== once.data[0]),
            "the tile is flat",
          );
        },
        run: () => paintTissue({ size: side, seed: 3 }),
        each: { unit: "tiles", count: 1 },
      }),
    ),
  ];
}
