import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import { type BatchShape, rolled, separate } from "../../src/models/stylizing-vit/batch-shape.js";
import { type ModelConfig, parseConfig, presetConfig } from "../../src/models/stylizing-vit/config.js";
import type { Mode } from "../../src/models/stylizing-vit/modes.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { StylizingTask, stylizing } from "../../src/models/stylizing-vit/task.js";
import { Vgg } from "../../src/models/vgg/features.js";
import { vggShapes } from "../../src/models/vgg/weights.js";
import { Engine, type Job } from "../../src/painter/engine.js";
import { TrainingDevice } from "../../src/train/device.js";
import { ADAMW } from "../../src/train/types.js";
import { nullGpuAs } from "../support/gpu.js";
import { type Capture, capture } from "./capture.js";
import { FEW_FLOPS, PROFILES, Recording, zeros } from "./recording.js";

/** Words of 8 digits in a line that ends with them. */
const word = (line: string, at: number, value: string): string => {
  const [front, words] = [line.slice(0, line.lastIndexOf(" ") + 1), line.slice(line.lastIndexOf(" ") + 1)];
  return front + (words.slice(0, 8 * at) + value + words.slice(8 * (at + 1))).replace(/(00000000)+$/, "");
};

/** What kernels were given when the recording was made, by what they are given now. */
const GIVEN: readonly (readonly [kernel: string, then: (line: string) => string])[] = [
  // Images were square: their height was not given.
  ["patchify.", (line) => word(line, 10, "00000000")],
  // Every number decayed: there was no mask.
  ["adamw.", (line) => line.replace(/ \d+\) /, ") ")],
];

/** Labels as they were when the recording was made, by what they are now. */
const FORMER: readonly (readonly [now: string, then: string])[] = [
  ["(HISTORY=1024, TERMS=4)", "(HISTORY=1024)"],
  [" + lane_sum", ""],
];

const former = (line: string): string => {
  const given = GIVEN.reduce((text, [kernel, then]) => (text.startsWith(kernel) ? then(text) : text), line);
  return FORMER.reduce((text, [now, then]) => text.replace(now, then), given);
};

const recording = new Recording("fingerprints", former);
const check = (name: string, seen: Capture) => recording.check(name, seen);

const statistics = { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] };
const nano = parseConfig({ image_size: 32, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3, ...statistics }, "nano");
const odd = { image_size: 42, patch_size: 7, in_channels: 1, embed_dim: 70, depth: 3, num_heads: 7, mlp_ratio: 2.33 };
const grey = { image_size: 32, patch_size: 8, in_channels: 1, embed_dim: 80, depth: 2, num_heads: 8, qkv_bias: false };

const MODES: readonly Mode[] = ["pair", "style", "banked", "content", "restyle", "plain"];

async function modes(gpu: Gpu, seen: Capture, name: string, config: ModelConfig, images: number, format: "bytes" | "planes") {
  const engine = await Engine.create(gpu, config, zeros(parameterShapes(config)));
  // One style more than images, the first one left out, so that a page has rows of its own.
  const page = await engine.createPage(images + 1);
  const kept = engine.takeKept();
  const each = config.in_channels * config.image_size ** 2;
  const pixels = (count: number) => (format === "bytes" ? new Uint8Array(count * each) : new Float32Array(count * each));
  const styles = Array.from({ length: images }, (_, i) => images - i);
  const jobs: Record<Mode, Job> = {
    pair: { mode: "pair", images, input: format, output: format, content: pixels(images), style: pixels(images) },
    style: { mode: "style", images, input: format, output: "none", style: pixels(images), page, firstStyle: 1 },
    banked: { mode: "banked", images, input: format, output: format, content: pixels(images), page, styles },
    content: { mode: "content", images: 1, input: format, output: "none", content: pixels(1), kept },
    restyle: { mode: "restyle", images, input: format, output: format, page, kept, styles },
    plain: { mode: "plain", images, input: format, output: format, content: pixels(images), style: pixels(images) },
  };
  try {
    for (const mode of MODES) {
      await engine.run(jobs[mode]);
      check(`${name} ${mode}`, seen);
    }
    if (format === "bytes") return;
    await engine.trace({ images, content: pixels(images), style: pixels(images) });
    check(`${name} trace`, seen);
  } finally {
    engine.dispose();
  }
}

/** VGG-19 by number of channels, one for all tests of a device: to make one is most of what they would take. */
const networks = new Map<number, Promise<Vgg>>();
const makeVgg = Vgg.create;
vi.spyOn(Vgg.prototype, "dispose").mockImplementation(() => {});
vi.spyOn(Vgg, "create").mockImplementation((gpu, source, channels, imageSize) => {
  expect(imageSize).toBe(32);
  if (!networks.has(channels)) networks.set(channels, makeVgg.call(Vgg, gpu, source, channels, imageSize));
  return networks.get(channels)!;
});

async function steps(
  gpu: Gpu,
  seen: Capture,
  name: string,
  config: ModelConfig,
  recompute: boolean,
  shapes: [string, BatchShape][],
) {
  const { terms } = stylizing;
  const task = await StylizingTask.create(gpu, config, zeros(vggShapes(config.in_channels)), {
    terms,
    batch: 8,
    recompute,
    lossScale: 1,
  });
  const device = await TrainingDevice.create(gpu, task, {
    largest: {
      ...shapes[0]![1],
      uniques: Math.max(...shapes.map(([, shape]) => shape.uniques)),
      pairs: Math.max(...shapes.map(([, shape]) => shape.pairs)),
    },
    clip: 1,
    constants: { ...ADAMW, weightDecay: 0.01 },
  });
  try {
    seen.take();
    for (const [what, shape] of shapes) {
      const count = shape.uniques * config.in_channels * config.image_size ** 2;
      await device.run(shape, new Uint8Array(count), true);
      // The first of a step folds the weights.
      check(`${name} ${what}`, seen);
      if (recompute) continue;
      await device.run(shape, new Float32Array(count), false);
      check(`${name} ${what} judged`, seen);
    }
    await device.unfold();
    check(`${name} unfold`, seen);
    await device.update(1e-3);
    check(`${name} update`, seen);
  } finally {
    device.dispose();
  }
}

describe.each(PROFILES)("%s hands over the recorded dispatches", (profile, tier, software) => {
  let gpu: Gpu;
  let seen: Capture;
  beforeAll(async () => {
    gpu = await nullGpuAs(tier, software, true);
    seen = capture(gpu.device);
  });
  beforeEach(() => {
    gpu.flopsPerDispatch = Number.POSITIVE_INFINITY;
  });
  afterAll(() => {
    networks.clear();
    gpu.dispose();
  });

  it.each<[string, ModelConfig, number]>([
    ["nano", nano, 3],
    ["odd", parseConfig({ ...odd, mean: [0.5], std: [0.2] }, "odd"), 2],
    ["one layer", { ...nano, depth: 1 }, 2],
    ["tiny", { ...presetConfig("tiny"), ...statistics }, 2],
  ])("painting: %s", async (name, config, images) => {
    await modes(gpu, seen, `${profile}, ${name},`, config, images, "bytes");
    if (name !== "nano") return;
    await modes(gpu, seen, `${profile}, ${name}, planes,`, config, images, "planes");
    gpu.flopsPerDispatch = FEW_FLOPS;
    await modes(gpu, seen, `${profile}, ${name}, cut,`, config, images, "bytes");
  });

  it.each<[string, ModelConfig]>([
    ["nano", nano],
    ["three layers", { ...nano, depth: 3 }],
    ["one layer", { ...nano, depth: 1 }],
    ["grey", parseConfig({ ...grey, post_process_conv_kernel_size: 3, mean: [0.5], std: [0.2] }, "grey")],
  ])("training: %s", async (name, config) => {
    const shapes: [string, BatchShape][] = [
      ["rolled 3 of 8", rolled(3, 8)],
      ["rolled 4 of 4", rolled(4, 4)],
      ["separate 2", separate(2)],
    ];
    await steps(gpu, seen, `${profile}, training ${name},`, config, false, shapes);
    await steps(gpu, seen, `${profile}, training ${name} recomputed,`, config, true, shapes);
    if (name !== "nano") return;
    gpu.flopsPerDispatch = FEW_FLOPS;
    await steps(gpu, seen, `${profile}, training ${name}, cut,`, config, true, shapes.slice(0, 1));
  });
});

it("every recorded program was met", () => recording.end());
