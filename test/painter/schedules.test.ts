import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gpu, openGpu } from "../../src/gpu/gpu.js";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { blockPasses } from "../../src/models/stylizing-vit/modes.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { asFloats } from "../../src/net/pixels.js";
import { Engine, type Job } from "../../src/painter/engine.js";
import { relativeError } from "../support/fixtures.js";
import { hardwareProfile } from "../support/gpu.js";
import { changesNoBitInBands } from "./bands.js";

// What a schedule leaves out must not change a result: each against the plain one, which computes all 4L passes one by one.
// Sums are formed in the same order by the same kernels, so the results are equal to the last bits, not just close.
const EQUAL = 1e-6;

const B = 3;
let gpu: Gpu;
beforeAll(async () => {
  gpu = await openGpu({ adapter: "software", precision: "f32" });
});
afterAll(() => gpu.dispose());

describe.each([1, 2, 4])("%i layers", (depth) => {
  const config = parseConfig({ image_size: 24, patch_size: 8, embed_dim: 96, depth, num_heads: 3 }, "test");
  const each = 3 * 24 * 24;
  const images = (name: string, count: number) => hashedUniform(name, count * each, 5);
  const contents = images("content", B);
  const styles = images("style", B);
  let engine: Engine;
  let plain: Float32Array;

  const run = async (job: Partial<Job> & Pick<Job, "mode">) =>
    asFloats(await engine.run({ images: B, input: "planes", output: "planes", ...job }));

  beforeAll(async () => {
    engine = await Engine.create(gpu, config, new HashedWeights(parameterShapes(config), 2));
    plain = await run({ mode: "plain", content: contents, style: styles });
  });
  afterAll(() => engine.dispose());

  it("pairs, without the dead passes and with shared projections", async () => {
    expect(relativeError(await run({ mode: "pair", content: contents, style: styles }), plain)).toBeLessThanOrEqual(EQUAL);
  });

  it("a bank of styles, filled in two goes and used out of order", async () => {
    const page = await engine.createPage(4);
    await run({ mode: "style", images: 1, output: "none", style: images("other", 1), page, firstStyle: 0 });
    await run({ mode: "style", output: "none", style: styles, page, firstStyle: 1 });
    const result = await run({ mode: "banked", content: contents, page, styles: [1, 2, 3] });
    expect(relativeError(result, plain)).toBeLessThanOrEqual(EQUAL);

    const turned = await run({ mode: "banked", content: contents, page, styles: [3, 1, 3] });
    const expected = await run({
      mode: "plain",
      content: contents,
      style: Float32Array.from([2, 0, 2].flatMap((i) => [...styles.subarray(i * each, (i + 1) * each)])),
    });
    expect(relativeError(turned, expected)).toBeLessThanOrEqual(EQUAL);
    await engine.disposePage(page);
  });

  it("many styles for one content", async () => {
    const page = await engine.createPage(B);
    await run({ mode: "style", output: "none", style: styles, page, firstStyle: 0 });
    const kept = engine.takeKept();
    // A content before it, so that what is kept must be written anew.
    for (const index of [1, 0]) {
      await run({
        mode: "content",
        images: 1,
        output: "none",
        content: contents.subarray(index * each, (index + 1) * each),
        kept,
      });
    }
    const result = await run({ mode: "restyle", page, styles: [2, 0, 1], kept });
    const expected = await run({
      mode: "plain",
      content: Float32Array.from([0, 0, 0].flatMap(() => [...contents.subarray(0, each)])),
      style: Float32Array.from([2, 0, 1].flatMap((i) => [...styles.subarray(i * each, (i + 1) * each)])),
    });
    expect(relativeError(result, expected)).toBeLessThanOrEqual(EQUAL);
    engine.returnKept(kept);
    await engine.disposePage(page);
  });

  it("bytes in and out are the planes' values, normalised and rounded", async () => {
    const withStatistics = await Engine.create(
      gpu,
      { ...config, mean: [0.6, 0.45, 0.6], std: [0.2, 0.2, 0.18] },
      new HashedWeights(parameterShapes(config), 2),
    );
    const bytes = (name: string) => Uint8Array.from(hashedUniform(name, each, 8), (u) => Math.floor((u + 1) * 128));
    const [content, style] = [bytes("c"), bytes("s")];
    const planes = (pixels: Uint8Array) =>
      Float32Array.from({ length: each }, (_, i) => {
        const [c, at] = [Math.floor(i / 576), i % 576];
        return (pixels[at * 3 + c]! / 255 - [0.6, 0.45, 0.6][c]!) / [0.2, 0.2, 0.18][c]!;
      });
    const out = await withStatistics.run({ mode: "pair", images: 1, input: "bytes", output: "bytes", content, style });
    const reference = await run({ mode: "pair", images: 1, content: planes(content), style: planes(style) });
    let worst = 0;
    for (let i = 0; i < each; i++) {
      const [at, c] = [Math.floor(i / 3), i % 3];
      const value = Math.min(1, Math.max(0, reference[c * 576 + at]! * [0.2, 0.2, 0.18][c]! + [0.6, 0.45, 0.6][c]!)) * 255;
      worst = Math.max(worst, Math.abs(out[i]! - value));
    }
    // Half a level of rounding, and what f32 leaves of a value that lies between two levels.
    expect(worst).toBeLessThanOrEqual(0.501);
    expect(new Set(out).size).toBeGreaterThan(50);
    withStatistics.dispose();
  });
});

it("counts block passes as the savings promise", () => {
  expect(["plain", "pair", "banked", "restyle", "style", "content"].map((mode) => blockPasses(mode as Job["mode"], 12))).toEqual([
    48, 45, 34, 23, 11, 11,
  ]);
});

it("frees all it allocated", async () => {
  const before = gpu.allocatedBytes;
  const config = parseConfig({ image_size: 16, patch_size: 8, embed_dim: 48, depth: 1, num_heads: 1 }, "test");
  const engine = await Engine.create(gpu, config, new HashedWeights(parameterShapes(config), 2));
  const image = hashedUniform("x", 3 * 256, 1);
  await engine.run({ mode: "pair", images: 1, input: "planes", output: "planes", content: image, style: image });
  expect(gpu.allocatedBytes).toBeGreaterThan(before);
  engine.dispose();
  expect(gpu.allocatedBytes).toBe(before);
});

describe("no dispatch runs for long", () => {
  // Emulated matrix units are in schedules.slow.test.ts.
  it.each([
    ["quads", () => gpu.profile],
    ["workgroup memory", () => hardwareProfile(gpu.profile)],
  ])("GEMMs and attention are cut into bands of sequences, which changes no bit: kernels with %s", (_, of) =>
    changesNoBitInBands(gpu, of()),
  );
});
