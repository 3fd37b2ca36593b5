import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { EPSILON, guidedRadius } from "../../src/detail/guided.js";
import { fitSquare, unfit } from "../../src/image/preprocess.js";
import { GLASS, keepBackground } from "../../src/image/tissue-weight.js";
import type { PixelImage } from "../../src/image/types.js";
import { type Image, type ImageTensor, paintTissue, type StyleBank, StylizingViT } from "../../src/index.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import type { RunTiming } from "../../src/net/run.js";
import { Engine } from "../../src/painter/engine.js";
import { restoredByOracle, smooth } from "../detail/oracle.js";
import { SLOW } from "../support/slow.js";

const SIDE = 32;
const shape = { image_size: SIDE, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2 };
const config = parseConfig({ ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }, "a test's model");
const RADIUS = guidedRadius(config.patch_size);
const options = { adapter: "software", precision: "f32", batchSize: 3, config } as const;

let model: StylizingViT;
let bank: StyleBank;
const tissue = (seed: number, size: number) => paintTissue({ size, seed, hospital: seed % 5 }) as PixelImage;
const styles = [tissue(1, SIDE), tissue(2, SIDE), tissue(3, 50)];
/** Contents of several sizes and shapes. */
const contents: PixelImage[] = [smooth(71, 45, 1), tissue(7, 64), smooth(20, 90, 2), smooth(SIDE, SIDE, 3), smooth(5, 3, 1)];

beforeAll(async () => {
  model = await StylizingViT.load("hashed:3", options);
  bank = await model.styleBank(styles);
});
afterAll(async () => {
  bank?.dispose();
  await model?.[Symbol.asyncDispose]();
});

const floats = (image: PixelImage): Image => ({ ...image, data: Float32Array.from(image.data, (level) => level / 255) });

/** What it should be, in levels, by way of the model's own painting of the fitted square, before it is rounded. */
async function expected(
  content: PixelImage,
  style: PixelImage,
  fit: "mirror" | "crop" | "pad" = "mirror",
  background?: readonly number[],
) {
  const square = await fitSquare(content, SIDE, { fit });
  const seen = await fitSquare(style, SIDE, { fit });
  const painted = await model.stylize(floats(square), floats(seen));
  const { placement: low, source } = square;
  const mapping = { width: content.width, height: content.height, source, low };
  const { data } = painted as { data: Float32Array };
  return restoredByOracle(content, mapping, square, { data }, RADIUS, EPSILON, background);
}

/** Rounding, and a hair of what f32 makes of 255. */
const ROUNDING = 0.502;
const worst = (one: ArrayLike<number>, other: ArrayLike<number>) => {
  expect(one.length).toBe(other.length);
  return Array.from(one).reduce((most, value, at) => Math.max(most, Math.abs(value - other[at]!)), 0);
};

const keep = { size: "keep" } as const;

describe("guided detail at the content's own size", () => {
  it("of pairs, in batches, of all sizes and shapes: what the model painted, in the content's detail", async () => {
    const pairs = contents.map((_, index) => styles[index % 3]!);
    const results = await model.stylize(contents, pairs, keep);
    for (const [index, content] of contents.entries()) {
      const { width, height, channels, data } = results[index]!;
      expect([width, height, channels]).toEqual([content.width, content.height, 3]);
      expect(data).toBeInstanceOf(Uint8Array);
      expect(worst(data, await expected(content, pairs[index]!))).toBeLessThanOrEqual(ROUNDING);
    }
  });

  it.each(["mirror", "crop", "pad"] as const)("with squares by %s", async (fit) => {
    const result = await model.stylize(contents[0]!, styles[2]!, { ...keep, fit });
    expect(worst(result.data, await expected(contents[0]!, styles[2]!, fit))).toBeLessThanOrEqual(ROUNDING);
  });

  it("of a bank, of one style for all, and of one content in many styles", async () => {
    const byBank = await model.stylize(contents, bank, { ...keep, styles: [0, 1, 2, 0, 1] });
    const one = await model.stylize(contents, styles[1]!, keep);
    const many = await model.stylize(contents[0]!, bank, { ...keep, styles: [0, 1, 2, 1] });
    for (const [index, content] of contents.entries()) {
      expect(worst(byBank[index]!.data, await expected(content, styles[[0, 1, 2, 0, 1][index]!]!))).toBeLessThanOrEqual(ROUNDING);
      expect(worst(one[index]!.data, await expected(content, styles[1]!))).toBeLessThanOrEqual(ROUNDING);
    }
    for (const [index, style] of [0, 1, 2, 1].entries())
      expect(worst(many[index]!.data, await expected(contents[0]!, styles[style]!))).toBeLessThanOrEqual(ROUNDING);
  });

  it("of two contents at once, each in many styles", async () => {
    const both = [contents[0]!, contents[2]!];
    const results = await Promise.all(both.map((content) => model.stylize(content, bank, { ...keep, styles: [0, 1, 2, 1, 0] })));
    for (const [index, content] of both.entries())
      for (const [at, style] of [0, 1, 2, 1, 0].entries())
        expect(worst(results[index]![at]!.data, await expected(content, styles[style]!))).toBeLessThanOrEqual(ROUNDING);
  });

  it("of a stream, pairs and bank, with what the pairs carry", async () => {
    const pairs = contents.map((content, index) => ({
      content: content as Image,
      style: styles[index % 3]! as Image,
      label: index,
    }));
    const all: { label: number; image: Image }[] = [];
    for await (const batch of model.stream(pairs, { ...keep, batchSize: 2 }))
      for (const [at, { label }] of batch.pairs.entries()) all.push({ label, image: batch.images[at]! });
    const numbered = contents.map((content, index) => ({ content: content as Image, style: index % 3 }));
    const banked: Image[] = [];
    for await (const { images } of model.stream(numbered, { ...keep, bank, batchSize: 4 })) banked.push(...images);
    for (const [index, content] of contents.entries()) {
      const reference = await expected(content, styles[index % 3]!);
      expect(all[index]!.label).toBe(index);
      expect(worst(all[index]!.image.data, reference)).toBeLessThanOrEqual(ROUNDING);
      expect(worst(banked[index]!.data, reference)).toBeLessThanOrEqual(ROUNDING);
    }
  });

  it("of a tensor of another size, and of clamped bytes", async () => {
    const [one, two] = [tissue(4, 48), tissue(5, 48)];
    const data = new Uint8ClampedArray([...one.data, ...two.data]);
    const tensor: ImageTensor = { data, shape: [2, 48, 48, 3] };
    const result = await model.stylize(tensor, styles[0]!, keep);
    expect(result.shape).toEqual([2, 48, 48, 3]);
    for (const [index, content] of [one, two].entries()) {
      const part = result.data.subarray(index * 48 * 48 * 3, (index + 1) * 48 * 48 * 3);
      expect(worst(part, await expected(content, styles[0]!))).toBeLessThanOrEqual(ROUNDING);
    }
  });

  it("of styles in floats, as of the same in bytes", async () => {
    const [bytes, values] = [
      await model.stylize(contents[1]!, styles[0]!, keep),
      await model.stylize([contents[1]!], floats(styles[0]!), keep),
    ];
    expect(worst(values[0]!.data, bytes.data)).toBeLessThanOrEqual(1);
  });

  it("leaves bare glass as it is where that is asked for", async () => {
    const slide = smooth(80, 60, 2);
    for (let y = 0; y < 60; y++) slide.data.fill(242, y * 80 * 3, (y * 80 + 40) * 3);
    const painted = await model.stylize(slide, styles[1]!, keep);
    const kept = await model.stylize(slide, styles[1]!, { ...keep, background: "keep" });
    expect(worst(kept.data, await expected(slide, styles[1]!, "mirror", GLASS))).toBeLessThanOrEqual(ROUNDING);
    expect(kept.data.subarray(0, 36 * 3)).toEqual(slide.data.subarray(0, 36 * 3));
    expect(painted.data.subarray(0, 36 * 3)).not.toEqual(slide.data.subarray(0, 36 * 3));
  });

  it("at the model's size: its square, in its own detail", async () => {
    const square = await fitSquare(contents[0]!, SIDE, { fit: "mirror" });
    const result = await model.stylize(contents[0]!, styles[0]!, { detail: "guided" });
    expect([result.width, result.height]).toEqual([SIDE, SIDE]);
    expect(worst(result.data, await expected({ ...square }, styles[0]!))).toBeLessThanOrEqual(ROUNDING);
  });

  it("in windows, at the content's own scale: the same however many are painted at once", async () => {
    const content = tissue(9, 56);
    const [result] = await model.stylize([content], styles[0]!, { ...keep, scale: "native" });
    const [half] = await model.stylize([content], bank, { ...keep, scale: 0.5, styles: [0] });
    expect([result!.width, half!.height]).toEqual([56, 56]);
    // Of the whole image's colours, and of the windows': alike, and not the same.
    const fitted = await model.stylize(content, styles[0]!, keep);
    for (const image of [result!, half!]) {
      const difference = worst(image.data, fitted.data);
      expect(difference).toBeGreaterThan(3);
      expect(difference).toBeLessThan(128);
    }
    await using other = await StylizingViT.load("hashed:3", { ...options, batchSize: 1 });
    const [again] = await other.stylize([content], styles[0]!, { ...keep, scale: "native" });
    expect(again!.data).toEqual(result!.data);
  });
});

it("an image that is painted in bands is what it is in one piece", async () => {
  // A tenth is what its square is: one window, and bands, where the other way there is one submission.
  for (const content of [smooth(320, 320, 1), tissue(6, 320)]) {
    const [bands] = await model.stylize([content], styles[0]!, { ...keep, scale: 0.1 });
    const whole = await model.stylize(content, styles[0]!, keep);
    // Windows are rounded before their colours are fitted.
    expect(worst(bands!.data, whole.data)).toBeLessThanOrEqual(2);
  }
});

describe("the painting itself at the content's own size", () => {
  it("is the model's square, enlarged", async () => {
    for (const fit of ["mirror", "crop", "pad"] as const) {
      const square = await fitSquare(contents[0]!, SIDE, { fit });
      const painted = (await model.stylize(square, styles[0]!)) as PixelImage;
      const { width, height } = square.source;
      const enlarged = await unfit(painted, square.placement, width, height);
      const result = await model.stylize(contents[0]!, styles[0]!, { ...keep, detail: "model", fit });
      expect(result).toEqual({ ...enlarged, data: new Uint8Array(enlarged.data) });
    }
  });

  it("keeps bare glass where that is asked for, at either size", async () => {
    const slide = smooth(SIDE, SIDE, 2);
    slide.data.fill(240, 0, SIDE * 12 * 3);
    const painted = (await model.stylize(slide, styles[0]!)) as PixelImage;
    const kept = await model.stylize(slide, styles[0]!, { background: "keep" });
    expect(kept.data).toEqual(keepBackground(slide, painted).data);
    expect(kept.data.subarray(0, SIDE * 9 * 3)).toEqual(slide.data.subarray(0, SIDE * 9 * 3));
    const same = await model.stylize(slide, styles[0]!, { ...keep, detail: "model", background: "keep" });
    expect(same.data).toEqual(kept.data);
  });
});

describe("what is the default", () => {
  it("is the model's square as it paints it, of a mirrored image", async () => {
    const square = await fitSquare(contents[0]!, SIDE, { fit: "mirror" });
    const [plain, explicit] = [await model.stylize(contents[0]!, styles[0]!), await model.stylize(square, styles[0]!)];
    expect(plain.data).toEqual(explicit.data);
    const padded = await model.stylize(contents[0]!, styles[0]!, { fit: "pad" });
    expect(padded.data).not.toEqual(plain.data);
  });

  it("keeps bare glass where the model's configuration says that it is white, and detail is guided", async () => {
    await using white = await StylizingViT.load("hashed:3", { ...options, config: { ...config, background: "white" } });
    const slide = smooth(70, 50, 2);
    slide.data.fill(240, 0, 70 * 30 * 3);
    const glass = slide.data.subarray(0, 70 * 25 * 3);
    const part = ({ data }: Image) => (data as Uint8Array).subarray(0, 70 * 25 * 3);
    expect(part(await white.stylize(slide, styles[0]!, keep))).toEqual(glass);
    expect(part(await white.stylize(slide, styles[0]!, { ...keep, background: "paint" }))).not.toEqual(glass);
    expect(part(await white.stylize(slide, styles[0]!, { ...keep, detail: "model" }))).not.toEqual(glass);
    expect(part(await model.stylize(slide, styles[0]!, keep))).not.toEqual(glass);
  });
});

describe("bad arguments", () => {
  it.each<[string, object, RegExp]>([
    ["an unknown size", { size: "large" }, /Unknown size "large".*model or keep/],
    ["an unknown detail", { detail: "sharp" }, /Unknown detail "sharp"/],
    ["an unknown fit", { fit: "fill" }, /Unknown fit "fill"/],
    ["an unknown background", { background: "white" }, /Unknown background "white"/],
    ["an unknown scale", { size: "keep", scale: "half" }, /Unknown scale "half"/],
    ["a scale of nothing", { size: "keep", scale: 0 }, /scale is 0\..*above 0/],
    ["windows at the model's size", { scale: "native" }, /size is model.*Use size keep and detail guided/],
    ["windows without guided detail", { size: "keep", detail: "model", scale: 0.5 }, /detail model/],
  ])("%s", async (_, given, message) => {
    await expect(model.stylize(contents[0]!, styles[0]!, given)).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message) }); // biome-ignore format: one check
  });

  it("floats, and GPU buffers, at their own size", async () => {
    await expect(model.stylize(floats(contents[3]!), styles[0]!, keep)).rejects.toThrow(/in floats\..*8-bit/);
    const buffer = model.device.createBuffer({ size: SIDE * SIDE * 3, usage: 4 | 8 });
    const gpu = { buffer, shape: [1, SIDE, SIDE, 3], format: "bytes" } as const;
    await expect(model.stylize(gpu, styles[0]!, keep)).rejects.toThrow(/GPU buffer.*host memory/);
    buffer.destroy();
  });
});

it("a grey model gives grey images their own size and detail", async () => {
  const grey = parseConfig({ ...shape, in_channels: 1, mean: [0.5], std: [0.2] }, "grey");
  await using other = await StylizingViT.load("hashed:3", { ...options, config: grey });
  const [content, style] = [smooth(50, 40, 1, 1), smooth(SIDE, SIDE, 2, 1)];
  const result = await other.stylize(content, style, keep);
  expect([result.width, result.height, result.channels]).toEqual([50, 40, 1]);
  const square = await fitSquare(content, SIDE, { fit: "mirror" });
  const painted = (await other.stylize(floats(square), floats(style))) as { data: Float32Array };
  const mapping = { width: 50, height: 40, source: square.source, low: square.placement };
  expect(worst(result.data, restoredByOracle(content, mapping, square, painted, RADIUS, EPSILON))).toBeLessThanOrEqual(ROUNDING);
});

it("a stream that is stopped ends between two windows, quietly or with the signal's reason", async () => {
  const content = tissue(9, 300);
  for (const name of ["stop", "signal"] as const) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const runs = vi.spyOn(Engine.prototype, "run");
    onTestFinished(() => runs.mockRestore());
    const groups = (async function* () {
      yield [{ content: content as Image, style: 0 }];
    })();
    const painted: unknown[] = [];
    setTimeout(() => controller.abort(reason), 150);
    const work = (async () => {
      const stream = model.streamBatches(groups, { ...keep, bank, scale: "native", [name]: controller.signal });
      for await (const batch of stream) painted.push(batch);
    })();
    if (name === "stop") await work;
    else await expect(work).rejects.toBe(reason);
    expect(painted).toEqual([]);
    // Three of the 169 windows at a time.
    expect(runs.mock.calls.length).toBeLessThan(50);
    runs.mockRestore();
  }
});

it("a stream's timing counts every window, and what the detail takes", async () => {
  const content = tissue(9, 75);
  const parts = new Set<RunTiming>();
  const run = Engine.prototype.run;
  const spy = vi.spyOn(Engine.prototype, "run").mockImplementation(function (this: Engine, job, timing) {
    if (timing) parts.add(timing);
    return run.call(this, job, timing);
  });
  onTestFinished(() => spy.mockRestore());
  let whole = { compute: 0, host: 0, batches: 0 };
  for await (const _ of model.stream([{ content, style: 0 }], {
    ...keep,
    bank,
    scale: "native",
    onTiming: (all) => (whole = all),
  }));
  const windows = [...parts];
  expect(windows.length).toBeGreaterThan(2);
  expect(whole.batches).toBe(1);
  for (const stage of ["compute", "host"] as const)
    expect(whole[stage]).toBeGreaterThan(windows.reduce((sum, part) => sum + part[stage], 0));
});

// Matrix units are emulated, which takes seconds; behind them the kernels are those of f16.
it.each(SLOW ? (["f16", "matrix"] as const) : (["f16"] as const))(
  "of the %s tier: what that tier painted, in the content's detail",
  async (precision) => {
    vi.stubEnv("STYLIZING_VIT_MATRIX", "emulation");
    onTestFinished(() => void vi.unstubAllEnvs());
    await using other = await StylizingViT.load("hashed:3", { ...options, precision });
    expect(other.report.tier).toBe(precision);
    const [content, style] = [contents[0]!, styles[0]!];
    const result = await other.stylize(content, style, keep);
    const square = await fitSquare(content, SIDE, { fit: "mirror" });
    const painted = (await other.stylize(floats(square), floats(style))) as { data: Float32Array };
    const mapping = { width: content.width, height: content.height, source: square.source, low: square.placement };
    expect(worst(result.data, restoredByOracle(content, mapping, square, painted, RADIUS, EPSILON))).toBeLessThanOrEqual(
      ROUNDING,
    );
    expect(worst(result.data, (await model.stylize(content, style, keep)).data)).toBeLessThanOrEqual(8);
  },
);
