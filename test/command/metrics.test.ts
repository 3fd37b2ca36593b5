import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type MeasureOptions, type MeasureReport, measureFiles } from "../../src/augment/measure-files.js";
import { concludeMetrics, metricsTable } from "../../src/command/metrics.js";
import { columnsOf } from "../../src/command/table.js";
import { HashedWeights, hashedTensor, hashedUniform } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import type { PixelImage } from "../../src/image/types.js";
import { Classifier, frechetDistance, lpips, psnr, ssim, wasserstein } from "../../src/index.js";
import { openVgg, VGG_16, vggShapes } from "../../src/models/vgg/weights.js";
import { vit } from "../../src/models/vit/kind.js";
import { levelsOf } from "../metrics/vgg-oracle.js";
import { type Failure, fresh, HERE, imageFile, json, pixels, run } from "./command.js";

// Whoever has VGG-16 in a cache of his own gets the same numbers as everybody else.
beforeAll(() => {
  vi.stubEnv("HF_HOME", fresh());
  vi.stubEnv("HF_HUB_CACHE", undefined);
  vi.stubEnv("HF_HUB_OFFLINE", "1");
});
afterAll(() => vi.unstubAllEnvs());

/** Of a command in this process. */
const OFFLINE = () => ({ ...HERE, env: { HF_HOME: process.env.HF_HOME, HF_HUB_OFFLINE: "1" } });

const measure = (a: string, b: string, options: Partial<MeasureOptions> = {}, signal?: AbortSignal) =>
  measureFiles({ a, b, workers: 0, adapter: "software", ...options }, signal);

const read = async (file: string): Promise<PixelImage> => {
  const { data, width, height } = await pixels(file);
  return { data: new Uint8Array(data), width, height, channels: 3 };
};

/** A folder of images by name, seed, and size. */
async function folderOf(...images: readonly (readonly [name: string, seed: number, size?: number])[]): Promise<string> {
  const folder = fresh();
  for (const [name, seed, size = 24] of images) await imageFile(join(folder, name), seed, size);
  return folder;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe("two folders", () => {
  it("are compared as the library does, in pairs too; what is missing, broken or of another size is said", async () => {
    const a = await folderOf(
      ["x/1.png", 1],
      ["x/2.png", 2],
      ["x/same.png", 5],
      ["3.png", 3],
      ["broken.png", 4],
      ["alone.png", 6],
    );
    const b = await folderOf(["x/1.webp", 7], ["x/2.png", 8], ["x/same.png", 5], ["3.png", 9, 32], ["broken.png", 4]);
    writeFileSync(join(b, "broken.png"), "no image");
    const notes: string[] = [];
    const seen: [number, number][] = [];
    const report = await measure(a, b, {
      ...{ pairs: true, onNote: (text) => notes.push(text), onProgress: (done, total) => seen.push([done, total]) },
    });
    expect(report.a).toEqual({ path: a, images: 6, failed: [], withoutPartner: [join(a, "alone.png")] });
    expect(report.b).toMatchObject({
      ...{ images: 4, failed: [{ image: join(b, "broken.png"), error: { code: "IMAGE" } }], withoutPartner: [] },
    });
    expect(report.pairs!.map(({ name }) => name)).toEqual(["3", "broken", "x/1", "x/2", "x/same"]);
    const [three, broken, ...whole] = report.pairs!;
    expect(three!.error).toMatchObject({ code: "IMAGE", message: expect.stringMatching(/24 × 24.*32 × 32/) });
    expect(broken!.error!.code).toBe("IMAGE");
    for (const { a: one, b: other, ...pair } of whole) {
      const [p, q] = [await read(one), await read(other)];
      expect(pair.ssim).toBeCloseTo(ssim(p, q), 12);
      if (pair.name === "x/same") expect(pair.psnr).toBe("infinite");
      else expect(pair.psnr).toBeCloseTo(psnr(p, q), 12);
    }
    const [one, two] = whole;
    expect(report.psnr).toMatchObject({ better: "higher", pairs: 2, equal: 1 });
    expect(report.psnr!.value).toBeCloseTo(mean([one!.psnr as number, two!.psnr as number]), 12);
    expect(report.ssim).toMatchObject({ better: "higher", pairs: 3 });
    expect(report.ssim!.value).toBeCloseTo(mean(whole.map((pair) => pair.ssim!)), 12);

    const all = (folder: string, names: readonly string[]) => Promise.all(names.map((name) => read(join(folder, name))));
    const expected = wasserstein(
      await all(a, ["x/1.png", "x/2.png", "x/same.png", "3.png", "broken.png", "alone.png"]),
      await all(b, ["x/1.webp", "x/2.png", "x/same.png", "3.png"]),
    );
    expect(report.wasserstein).toEqual({
      value: expected.mean,
      better: "lower",
      images: { a: 6, b: 4 },
      channels: expected.channels,
    });
    expect(report.missing.map(({ metric }) => metric)).toEqual(["LPIPS", "Fréchet distance"]);
    for (const { fix } of report.missing) expect(fix).toMatch(/--(vgg|lpips) FILE/);
    expect(report).toMatchObject({ frechet: [] });
    expect(report.lpips ?? report.artFid).toBeUndefined();
    expect([seen[0], seen.at(-1)]).toEqual([[0, 11], [11, 11]]); // biome-ignore format: one list
    expect(notes.filter((text) => text.startsWith("failed:"))).toHaveLength(2);
  });

  it("give LPIPS of the whole VGG-16 as in float64, at the images' own sizes", async () => {
    const linear = VGG_16.stages.map(({ channels }, level) => hashedUniform(`linear ${level}`, channels, 2).map(Math.abs));
    const file = fresh("lpips.safetensors");
    const shapes = vggShapes(3, VGG_16.stages);
    await writeSafetensors(file, [
      ...[...shapes].map(([key, shape]) => [key.replace("vgg_encoder.features_", "features."), { shape, data: () => hashedTensor(key, shape, 1) }] as const), // biome-ignore format: one table
      ...linear.map((data, level) => [`lin${level}.model.1.weight`, { shape: [1, data.length, 1, 1], data }] as const),
    ]);
    const a = await folderOf(["1.png", 1, 16], ["2.png", 2, 17], ["small.png", 3, 8]);
    const b = await folderOf(["1.png", 4, 16], ["2.png", 5, 17], ["small.png", 6, 8]);
    // An image's features would take a CPU twenty seconds.
    const report = await measure(a, b, { pairs: true, features: [], vgg: file });
    await using vgg = await openVgg(file, 3, {}, VGG_16);
    const tensors = new Map<string, Promise<Float32Array>>();
    const tensor = (key: string) => tensors.get(key) ?? tensors.set(key, vgg.read(key)).get(key)!;
    const levels = async (path: string) => (await levelsOf(await read(path), VGG_16.stages, tensor)).map(({ data }) => data);
    const [one, two, small] = report.pairs!;
    const expected = lpips(await levels(one!.a), await levels(one!.b), linear);
    expect(Math.abs(one!.lpips! - expected)).toBeLessThanOrEqual(2e-5 * expected);
    expect(report.lpips).toEqual({
      ...{ value: mean([one!.lpips!, two!.lpips!]), better: "lower", pairs: 2, trunk: "VGG-16", weights: file },
    });
    expect(small!.lpips).toBeUndefined();
    expect(small!.ssim).toBeDefined();
    expect(report.missing).toEqual([
      { metric: "LPIPS", problem: expect.stringMatching(/1 pairs.*16 pixels/), fix: expect.any(String) },
    ]);
  });

  it("give the Fréchet distance of a classifier's features, and say whose they are", async () => {
    const config = vit.parseConfig(
      {
        kind: "vit",
        ...{ image_size: 16, patch_size: 8, embed_dim: 12, num_heads: 3, depth: 1, num_classes: 2 },
        ...{ mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] },
      },
      "test",
    );
    const model = fresh();
    const weights = new HashedWeights(vit.shapes(config), 4);
    await writeSafetensors(
      join(model, "model.safetensors"),
      [...weights.shapes].map(([key, shape]) => [key, { shape, data: () => weights.read(key) }] as const),
    );
    writeFileSync(join(model, "config.json"), JSON.stringify(config));
    const names = ["1.png", "2.png", "3.png", "4.png", "5.png"];
    const a = await folderOf(...names.map((name, at) => [name, at + 1] as const));
    const b = await folderOf(...names.map((name, at) => [name, at + 2] as const));
    const report = await measure(a, b, { features: [model], batchSize: 2 });

    await using classifier = await Classifier.load(model, { adapter: "software", precision: "f32" });
    const features = async (folder: string) =>
      classifier.features(await Promise.all(names.map((name) => read(join(folder, name)))));
    const [one, other] = [await features(a), await features(b)];
    expect(one.map(({ length }) => length)).toEqual([12, 12, 12, 12, 12]);
    // The first token of the bare model, behind the final norm.
    const image = await read(await imageFile(fresh("own.png"), 3, 16));
    const planes = Float32Array.from({ length: 3 * 256 }, (_, at) => {
      const c = Math.floor(at / 256);
      return (image.data[(at % 256) * 3 + c]! / 255 - config.mean![c]!) / config.std![c]!;
    });
    const { tokens } = await classifier.forward(planes, 16, 16);
    const [own] = await classifier.features([image]);
    for (const [at, value] of own!.entries()) expect(value).toBeCloseTo(tokens[at]!, 4);
    expect(report.frechet).toEqual([
      {
        value: expect.closeTo(await frechetDistance(one, other), 4),
        ...{ better: "lower", images: { a: 5, b: 5 }, weights: model },
        features: `${model}, CLS token behind the final norm, 12`,
      },
    ]);
    expect(report.missing).toEqual([]);
    expect((await measure(a, a, { features: [model] })).frechet[0]!.value).toBeLessThanOrEqual(1e-6);
  });

  it("stop when they are told to, and refuse a network that was asked for and is not to be had", async () => {
    const a = await folderOf(["1.png", 1], ["2.png", 2]);
    const controller = new AbortController();
    controller.abort(new Error("enough"));
    await expect(measure(a, a, { features: [] }, controller.signal)).rejects.toThrow("enough");
    await expect(measure(a, a, { features: ["vgg16"] })).rejects.toMatchObject({ code: "DOWNLOAD" });
    await expect(measure(a, a, { vgg: join(a, "none.safetensors") })).rejects.toMatchObject({ code: "CHECKPOINT" });
    await expect(measure(a, a, { features: [join(a, "none.safetensors")] })).rejects.toMatchObject({ code: "CHECKPOINT" });
  });
});

describe("the command", () => {
  it("prints a table, writes JSON, and ends with 0; 1 where a file failed", async () => {
    const a = await folderOf(["1.png", 1], ["2.png", 2]);
    const b = await folderOf(["1.png", 3], ["2.png", 4], ["3.png", 5]);
    const file = fresh("new/metrics.json");
    const args = ["metrics", "--a", a, "--b", b, "--pairs", "--workers", "0", "--features", "vgg16"];
    // VGG-16 was asked for.
    expect((await run(args, OFFLINE())).code).toBe(1);
    const finished = await run([...args.slice(0, -2), "--json", file], OFFLINE());
    expect(finished.code, finished.stderr).toBe(0);
    expect(finished.stdout).toMatch(/^metric +value +better +of +what it says\nPSNR +[\d.]+ dB +higher +2 pairs/);
    expect(finished.stderr).toMatch(/b: 1 without a partner: .*3\.png/);
    expect(finished.stderr).toMatch(/left out: LPIPS\. .*--lpips FILE/);
    const report = JSON.parse(readFileSync(file, "utf8")) as MeasureReport;
    expect(report.psnr!.pairs).toBe(2);
    writeFileSync(join(b, "2.png"), "no image");
    const failed = await run([...args.slice(0, -2), "--json"], OFFLINE());
    expect(failed.code).toBe(1);
    expect(json<MeasureReport>(failed)).toMatchObject({
      b: { images: 2, failed: [{ error: { code: "IMAGE" } }] },
      psnr: { pairs: 1 },
    });
  });

  it.each([
    ["an empty folder", (a: string) => ["--a", a, "--b", fresh()], /There is no image in/],
    ["a folder that is not there", (a: string) => ["--a", a, "--b", join(a, "none")], /none cannot be read/],
  ] as const)("refuses %s", async (_, args, message) => {
    const finished = await run(["metrics", ...args(await folderOf(["1.png", 1])), "--json"], OFFLINE());
    expect(finished.code, finished.stderr).toBe(2);
    expect(json<Failure>(finished).error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message) });
  });

  it("measures without any network where none is wanted", async () => {
    const [a, b] = [await folderOf(["1.png", 1], ["2.png", 2]), await folderOf(["1.png", 3], ["2.png", 4])];
    const { code, stdout, stderr } = await run(["metrics", "--a", a, "--b", b, "--pairs", "--features", "none"], OFFLINE());
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/PSNR[\s\S]*SSIM[\s\S]*Wasserstein/);
    expect(stdout + stderr).not.toMatch(/left out|LPIPS|VGG/);
    const both = await run(["metrics", "--a", a, "--b", b, "--features", "none", "vgg16"], OFFLINE());
    expect(both.code).toBe(2);
    expect(both.stderr).toContain("No network is wanted, and one is named.");
  });

  it("refuses pairs that nobody can find", async () => {
    const a = await folderOf(["1.png", 1], ["1.jpg", 2]);
    const b = await folderOf(["1.png", 1], ["2.png", 2]);
    const c = await folderOf(["3.png", 1], ["4.png", 2]);
    await expect(measure(a, b, { pairs: true })).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/1\.jpg.*1\.png have one name/) }); // biome-ignore format: one check
    await expect(measure(b, c, { pairs: true })).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/No image .* has a partner/) }); // biome-ignore format: one check
  });
});

describe("tables", () => {
  const images = { a: 30, b: 40 };
  const report = {
    a: { path: "a", images: 30, failed: [] },
    b: { path: "b", images: 40, failed: [] },
    psnr: { value: null, better: "higher", pairs: 0, equal: 3 },
    ssim: { value: 1, better: "higher", pairs: 3 },
    lpips: { value: 0, better: "lower", pairs: 3, trunk: "VGG-16", weights: "hub" },
    wasserstein: { value: 0.0123456, better: "lower", images, channels: [0.01, 0.02, 0.0070368] },
    frechet: [
      { value: 31.23456, better: "lower", images, features: "VGG-16 relu5_3, spatial mean, 512, of images", weights: "hub" },
    ],
    artFid: { value: 32.23456, better: "lower", features: "VGG-16" },
    missing: [],
  } as const satisfies Omit<MeasureReport, "versions" | "milliseconds">;

  it("have a line a metric, say of which features, and fit a terminal", () => {
    const lines = metricsTable(report).trimEnd().split("\n");
    expect(lines.map((line) => line.split(/ {2,}/).slice(0, 3))).toEqual([
      ["metric", "value", "better"],
      ["PSNR", "infinite", "higher"],
      ["SSIM", "1", "higher"],
      ["LPIPS", "0", "lower"],
      ["Wasserstein", "0.01235", "lower"],
      ["Fréchet", "31.23", "lower"],
      ["ArtFID", "32.23", "lower"],
    ]);
    expect(lines[5]).toMatch(/30 and 40 images .*VGG-16 relu5_3.*no FID$/);
    for (const line of metricsTable(report, 80).trimEnd().split("\n")) expect(columnsOf(line)).toBeLessThanOrEqual(80);
  });

  it("are followed by a warning where images are fewer than numbers", async () => {
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const whole = { ...report, milliseconds: 1, versions: {} } as unknown as MeasureReport;
    expect(await concludeMetrics(whole, {})).toBe(0);
    expect(err.mock.calls.flat().join("")).toMatch(/30 images are few for 512 numbers/);
    vi.restoreAllMocks();
  });
});
