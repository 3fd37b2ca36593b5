import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { environment } from "../command/command.js";
import { root } from "../support/fixtures.js";

/** What can be imported, types aside. A change here is a change for users. */
const SURFACE = [
  "Classifier",
  "ClosedForms",
  "HOSPITALS",
  "METHODS",
  "StylizingError",
  "StylizingViT",
  "Trainer",
  "VERSION",
  "exportOnnx",
  "fitRandStainNA",
  "listModels",
  "matchColour",
  "measureStatistics",
  "methodNamed",
  "openClosedForm",
  "paintTissue",
  "psnr",
  "randomHospital",
  "ssim",
];

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program without what `npm test` tells its children about this checkout. */
export function exec(program: string, args: readonly string[], cwd: string): Promise<Ended> {
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

type Test = { skip: (note: string) => never };

/** What a consumer of types compiles with. */
export interface Consumer {
  library: string;
  lib: readonly string[];
  types: readonly string[];
  skipLibCheck: boolean;
}

/** The libraries of consumers, and the packages of types that they name. */
const consumers: Consumer[] = (
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
export const possible = consumers.filter(({ types, skipLibCheck }) => types[0] !== "@webgpu/types" || skipLibCheck);

/** A project whose dependency is there once `needInstalled` has come back, or skips. */
export function aConsumer(user: string, needInstalled: (test: Test) => Promise<void>, chosen: readonly Consumer[]): void {
  beforeAll(() => {
    mkdirSync(user);
    writeFileSync(join(user, "package.json"), JSON.stringify({ private: true, type: "module" }));
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

  it.for(chosen)(
    "has types that hold beside $library library, types $types, skipLibCheck $skipLibCheck",
    async ({ lib, types, skipLibCheck }, test) => {
      await needInstalled(test);
      writeFileSync(
        join(user, "consumer.ts"),
        `import {
  type BatchTiming, type CatalogueEntry, ClosedForms, exportOnnx, type ExportReport, type GpuImages, HOSPITALS, type Image, type ImageTensor, listModels, type LoadOptions, matchColour, measureStatistics,
  type ModelConfig, type ModelReport, openClosedForm, paintTissue, type Params, randomHospital, type RestyleBank, type Restyled, type Restyler, type StyleBank, type StreamTiming, StylizingError, StylizingViT, Trainer, type TrainerOptions, type TrainingProgress, VERSION,
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
const restyled = async () => {
  await using forms = await ClosedForms.open({ adapter: "software", onNote: (note) => void note });
  await using alone: Restyler = await openClosedForm("reinhard");
  const params: Params = alone.method.settle({ space: "lab" }, (index) => index / 100);
  using stains: RestyleBank = await forms.restyler("reinhard").styleBank([{ data: new Uint8Array(12), width: 2, height: 2, channels: 3 }]);
  const results: Restyled[] = await alone.restyle([{ content: { data: new Uint8Array(12), width: 2, height: 2, channels: 3 }, style: 0, params }], { bank: stains });
  void results[0]?.applied;
};
void [restyled, learn, written, one, many, packed, banked, onDevice, config, report, entries, statistics, VERSION, HOSPITALS, matchColour, paintTissue, randomHospital];
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
}
