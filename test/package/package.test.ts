import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import type * as fallback from "../../src/webgpu-fallback.js";
import { build, environment, imageFiles, pixels } from "../command/command.js";
import { root } from "../support/fixtures.js";

const npm = process.platform === "win32" ? "npm.cmd" : "npm";

/** What can be imported, types aside. A change here is a change for users. */
const SURFACE = [
  "HOSPITALS",
  "StylizingError",
  "StylizingViT",
  "Trainer",
  "VERSION",
  "exportOnnx",
  "listModels",
  "matchColour",
  "measureStatistics",
  "paintTissue",
  "psnr",
  "randomHospital",
  "ssim",
];

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program without what `npm test` tells its children about this checkout. */
function exec(program: string, args: readonly string[], cwd: string): Promise<Ended> {
  const env = Object.fromEntries(
    Object.entries(environment()).filter(
      ([name]) => !/^(INIT_CWD|NODE_OPTIONS|npm_(package|lifecycle|command|execpath|config_local_prefix))/.test(name),
    ),
  );
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, env, timeout: 90_000, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") reject(new Error(`${program} ${args.join(" ")}: ${error.message}\n${stderr}`));
      else resolve({ code: (error?.code as number | undefined) ?? 0, stdout, stderr });
    });
  });
}

interface Packed {
  filename: string;
  files: { path: string; size: number }[];
}

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let packed: Packed;

beforeAll(async () => {
  await build();
  const { code, stdout, stderr } = await exec(npm, ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root);
  expect(code, stderr).toBe(0);
  packed = (JSON.parse(stdout) as Packed[])[0]!;
});

describe("what is published", () => {
  it("is the compiled library, the kernels, the small model and the texts, nothing else and nothing large", () => {
    const paths = packed.files.map(({ path }) => path);
    const beside = ["README.md", "LICENSE", "CHANGELOG.md"].filter((name) => existsSync(join(root, name)));
    expect(paths.filter((path) => !path.includes("/")).sort()).toEqual(["package.json", ...beside].sort());
    expect([...new Set(paths.filter((path) => path.includes("/")).map((path) => path.split("/")[0]))].sort()).toEqual([
      "dist",
      "kernels",
      "weights",
    ]);
    expect(paths).toEqual(expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "dist/command/main.js"]));
    expect(paths).toEqual(expect.arrayContaining(["weights/demo/model.safetensors", "weights/demo/config.json"]));
    const kernels = readdirSync(join(root, "kernels"), { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".wgsl"),
    );
    expect(paths.filter((path) => path.startsWith("kernels/")).sort()).toEqual(kernels.map((name) => `kernels/${name}`).sort());
    expect(paths.filter((path) => path.startsWith("dist/") && !/(\.js|\.d\.ts|^dist\/kernels\/.*\.wgsl)$/.test(path))).toEqual(
      [],
    );
    expect(packed.files.filter(({ size }) => size > 5e6)).toEqual([]);
  });

  it("has nothing that publint objects to", async () => {
    const { messages, pkg } = await publint({ pkgDir: root, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg!))).toEqual([]);
  });
});

it("promises of WebGPU, where there is none of it, nothing that it does not have", () => {
  expectTypeOf<GPUDevice>().toExtend<fallback.Device>();
  expectTypeOf<GPUQueue>().toExtend<fallback.Queue>();
  expectTypeOf<GPUBuffer>().toExtend<fallback.DeviceBuffer>();
  expectTypeOf<GPUCommandEncoder>().toExtend<fallback.CommandEncoder>();
  expectTypeOf<GPUComputePassEncoder>().toExtend<fallback.ComputePassEncoder>();
  expectTypeOf<GPUComputePipeline>().toExtend<fallback.ComputePipeline>();
  expectTypeOf<AbortSignal>().toExtend<fallback.Signal>();
});

describe("what is installed from it", () => {
  const user = join(folder, "user");

  beforeAll(() => {
    mkdirSync(user);
    writeFileSync(join(user, "package.json"), JSON.stringify({ private: true, type: "module" }));
  });

  let installed: Promise<Ended> | undefined;
  const install = () => {
    const software = process.platform === "linux" && process.arch === "x64" ? ["@sparticuz/chromium@147.0.0"] : [];
    const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--no-save"];
    installed ??= exec(npm, ["install", join(folder, packed.filename), ...software, ...flags], user);
    return installed;
  };
  /** Skips where packages are not to be had: no network and no cache. */
  async function needInstalled(test: { skip: (note: string) => never }): Promise<void> {
    const { code, stderr } = await install();
    if (code !== 0 && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED/.test(stderr))
      test.skip("no package registry can be reached");
    expect(code, stderr).toBe(0);
  }

  it("paints one image, by command and by library, alike", async (test) => {
    await needInstalled(test);
    const [[content], [style]] = [await imageFiles("content"), await imageFiles("style")];
    const args = ["stylize", "--content", content!, "--style", style!, "--out", "out"];
    const command = await exec(
      process.platform === "win32" ? "npx.cmd" : "npx",
      ["--no-install", "stylizing-vit", ...args, "--workers", "1", "--json"],
      user,
    );
    expect(command.code, command.stderr).toBe(0);
    expect(JSON.parse(command.stdout)).toMatchObject({ model: "demo", done: 1, failed: 0, timing: { workers: 1 } });
    // The worker is in the package.
    expect(command.stderr).not.toContain("main thread");

    const script = join(user, "paint.js");
    writeFileSync(
      script,
      `import sharp from "sharp";
import { StylizingViT } from "stylizing-vit";
const read = async (path) => {
  const { data, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
};
const model = await StylizingViT.load();
const { data, ...shape } = await model.stylize(await read(${JSON.stringify(content)}), await read(${JSON.stringify(style)}));
console.log(JSON.stringify({ shape, data: Buffer.from(data).toString("base64"), untouched: !("gpu" in globalThis) && !globalThis.GPUDevice }));
await model[Symbol.asyncDispose]();
`,
    );
    const library = await exec(process.execPath, [script], user);
    expect(library.code, library.stderr).toBe(0);
    const { shape, data, untouched } = JSON.parse(library.stdout) as { shape: object; data: string; untouched: boolean };
    expect(shape).toEqual({ width: 96, height: 96, channels: 3 });
    expect(untouched).toBe(true);
    expect(Buffer.from(data, "base64").equals((await pixels(join(user, "out", "content.png"))).data)).toBe(true);
  });

  it("exports these names and no others, and is importable without a GPU", async (test) => {
    await needInstalled(test);
    const list = 'console.log(JSON.stringify(Object.keys(await import("stylizing-vit")).sort()))';
    const { code, stdout, stderr } = await exec(process.execPath, ["--input-type=module", "--eval", list], user);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual(SURFACE);
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    const told = await exec(
      process.execPath,
      ["--input-type=module", "--eval", 'console.log((await import("stylizing-vit")).VERSION)'],
      user,
    );
    expect(told.stdout.trim()).toBe(version);
    // Inner modules are not to be reached.
    const inner = await exec(
      process.execPath,
      ["--input-type=module", "--eval", 'await import("stylizing-vit/dist/painter/engine.js")'],
      user,
    );
    expect(inner.stderr).toContain("ERR_PACKAGE_PATH_NOT_EXPORTED");
  });

  it("loads neither libvips nor Dawn before they are needed", async (test) => {
    await needInstalled(test);
    const list = "process.report.getReport().sharedObjects.filter((path) => /vips|sharp|dawn/i.test(path))";
    const native = async (what: string) =>
      (
        await exec(process.execPath, ["--input-type=module", "--eval", `${what}; console.log(${list}.length)`], user)
      ).stdout.trim();
    expect(await native('await import("stylizing-vit")')).toBe("0");
    expect(Number(await native('await import("sharp"); await import("webgpu")'))).toBeGreaterThan(1);
  });

  /** The libraries of consumers, and the packages of types that they name. */
  const consumers = (
    [
      ["no browser's", ["ES2023", "ESNext.Disposable"]],
      ["a browser's", ["ES2023", "ESNext.Disposable", "DOM"]],
      ["the language's alone", ["ES2023"]],
    ] as const
  ).flatMap(([library, lib]) =>
    ([[], ["node"], ["@webgpu/types"]] as const).flatMap((types) =>
      [true, false].map((skipLibCheck) => ({ library, lib, types, skipLibCheck })),
    ),
  );
  // The types of WebGPU's own package hold beside no library but unchecked.
  const possible = consumers.filter(({ types, skipLibCheck }) => types[0] !== "@webgpu/types" || skipLibCheck);

  it.for(possible)(
    "has types that hold beside $library library, types $types, skipLibCheck $skipLibCheck",
    async ({ lib, types, skipLibCheck }, test) => {
      await needInstalled(test);
      writeFileSync(
        join(user, "consumer.ts"),
        `import {
  type BatchTiming, type CatalogueEntry, exportOnnx, type ExportReport, type GpuImages, HOSPITALS, type Image, type ImageTensor, listModels, type LoadOptions, matchColour, measureStatistics,
  type ModelConfig, type ModelReport, paintTissue, randomHospital, type StyleBank, type StreamTiming, StylizingError, StylizingViT, Trainer, type TrainerOptions, type TrainingProgress, VERSION,
} from "stylizing-vit";

const image: Image = { data: new Uint8Array(12), width: 2, height: 2, channels: 3 };
const options: LoadOptions = { precision: "auto", adapter: "software", batchSize: 4, onProgress: ({ phase, loaded, total }) => void [phase, loaded, total] };
await using model = await StylizingViT.load("base/camelyon17wilds", options);
const one: Image = await model.stylize(image, image);
const many: Image[] = await model.stylize([image], [image]);
const packed: ImageTensor = await model.stylize({ data: new Float32Array(12), shape: [1, 2, 2, 3] }, image);
const bank: StyleBank = await model.styleBank([image]);
const banked: Image[] = await model.stylize([image], bank, { styles: [0] });
for await (const batch of model.stream([{ content: image, style: image, label: 3 }], { batchSize: 64 })) {
  const label: number | undefined = batch.pairs[0]?.label;
  const images: Image[] = batch.images;
  const { decode, wait }: BatchTiming = batch.timing;
  void [label, images, decode, wait];
}
const tell = ({ busy, clock }: StreamTiming) => void [busy, clock];
for await (const { pairs } of model.stream([{ content: "a.jpg", style: 0, label: "a" }], { bank, onTiming: tell, onUnreadable: ({ label }) => void label })) {
  const label: string | undefined = pairs[0]?.label;
  void label;
}
const device: GPUDevice = model.device;
const buffer: GPUBuffer = device.createBuffer({ size: 16, usage: 128 });
void (async () => StylizingViT.load("demo", { device, signal: (undefined as unknown as { signal: AbortSignal }).signal }));
void (async () => {
  const module: GPUShaderModule = device.createShaderModule({ code: "" });
  const pipeline: GPUComputePipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const encoder: GPUCommandEncoder = device.createCommandEncoder();
  const pass: GPUComputePassEncoder = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] }));
  pass.dispatchWorkgroups(1);
  pass.end();
  device.queue.submit([encoder.finish()]);
  device.queue.writeBuffer(buffer, 0, new Uint8Array(16));
  const { reason, message } = await device.lost;
  const read: ArrayBuffer = buffer.getMappedRange();
  const limit: number = device.limits.maxBufferSize;
  void [reason, message, read, limit];
});
const onDevice: GpuImages = await model.stylize({ buffer, shape: [1, 2, 2, 3], format: "floats" }, image);
const config: ModelConfig = model.config;
const report: ModelReport = model.report;
const entries: readonly CatalogueEntry[] = listModels();
const statistics: { mean: number[]; std: number[] } = measureStatistics([image]);
const written: ExportReport = await exportOnnx("demo", "demo.onnx", { half: true, onProgress: ({ loaded }) => void loaded });
const recipe: TrainerOptions = { data: ["a"], val: ["b"], out: "c", epochs: 3, vgg: "random:1", lossWeights: { identity: 1, consistency: 1, anatomical: 1, style: 1 } };
const learn = async () => {
  await using trainer = await Trainer.create(recipe);
  for await (const progress of trainer.run()) {
    const event: TrainingProgress = progress;
    if (event.kind === "epoch") void [event.validation.total, event.ssim];
  }
};
void [learn, written, one, many, packed, banked, onDevice, config, report, entries, statistics, VERSION, HOSPITALS, matchColour, paintTissue, randomHospital];
try {
  // @ts-expect-error: a content has a width
  await model.stylize({ data: new Uint8Array(12) }, image);
  // @ts-expect-error: devices are typed, whatever the libraries
  device.nothing();
  // @ts-expect-error: and buffers
  buffer.nothing();
  // @ts-expect-error: not a precision
  await StylizingViT.load("demo", { precision: "f64" });
} catch (error) {
  if (error instanceof StylizingError && error.code === "NO_ADAPTER") void error.fix;
}
`,
      );
      const compilerOptions = {
        target: "ES2022",
        module: "NodeNext",
        moduleResolution: "NodeNext",
        strict: true,
        noEmit: true,
        skipLibCheck,
        lib,
        typeRoots: [join(root, "node_modules", "@types"), join(root, "node_modules")],
        types,
      };
      writeFileSync(join(user, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
      const { stdout, stderr } = await exec(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", user], user);
      expect(stdout + stderr).toBe("");
    },
  );
});
