import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EPSILON } from "../../src/detail/guided.js";
import { Restorer } from "../../src/detail/restorer.js";
import { type Mapping, tilesOf } from "../../src/detail/tiles.js";
import { Gpu } from "../../src/gpu/gpu.js";
import { decodeImage } from "../../src/image/decode.js";
import { GLASS } from "../../src/image/tissue-weight.js";
import type { PixelImage } from "../../src/image/types.js";
import { coefficients } from "../ops/guided.oracle.js";
import { goldenFolder } from "../support/fixtures.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";
import { restoredByOracle, smooth } from "./oracle.js";

const gpu = gpuOfThisFile();
const whole = ({ width, height }: { width: number; height: number }) => ({ left: 0, top: 0, width, height });
const unit = ({ data }: PixelImage) => Float32Array.from(data, (level) => level / 255);

const worst = (one: Uint8Array, other: ArrayLike<number>) =>
  one.reduce((most, value, at) => Math.max(most, Math.abs(value - other[at]!)), 0);

describe("guided detail of golden cases", () => {
  const golden = goldenFolder("guided");
  const name = golden ? "" : ": no golden case beside the checkout";
  interface Case {
    content: string;
    contentLow: string;
    paintedLow: string;
    radius: number;
    eps: number;
    expected: string;
    kept: string;
    spots: { row: number; column: number; a: number[][]; b: number[] }[];
  }
  let cases: Case[] = [];
  beforeAll(() => {
    if (!golden) return;
    const all = JSON.parse(readFileSync(join(golden, "cases.json"), "utf8")) as { guided: Partial<Case>[] };
    cases = all.guided.filter((one): one is Case => one.paintedLow !== undefined);
  });
  const read = (file: string) => decodeImage(join(golden!, file), { channels: 3 });

  it.skipIf(!golden)(`within one level, on the kernels of both kinds of adapter${name}`, async () => {
    expect(cases.length).toBeGreaterThanOrEqual(5);
    const hardware = new Gpu(gpu().device, gpu().facts, hardwareProfile(gpu().profile), false);
    for (const { content, contentLow, paintedLow, radius, eps: epsilon, expected, kept } of cases) {
      const [full, low, painted] = [await read(content), await read(contentLow), await read(paintedLow)];
      const mapping: Mapping = { ...whole(full), source: whole(full), low: whole(low) };
      for (const device of [gpu(), hardware])
        for (const [background, file] of [
          [undefined, expected],
          [GLASS, kept],
        ] as const) {
          using restorer = new Restorer(device, 3, { radius, epsilon, background });
          const seen = { content: low.data, painted: unit(painted), place: whole(low) };
          const result = await restorer.restore(full, mapping, seen);
          expect(worst(result.data, (await read(file)).data), `${content}, ${file}`).toBeLessThanOrEqual(1);
        }
    }
  });

  it.skipIf(!golden)(`whose maps the oracle of these tests has too${name}`, async () => {
    for (const { contentLow, paintedLow, radius, eps, spots } of cases) {
      const [low, painted] = [await read(contentLow), await read(paintedLow)];
      const values = ({ data }: PixelImage) => Float64Array.from(data, (level) => level / 255);
      const maps = coefficients(values(low), values(painted), low, whole(low), radius, eps);
      for (const { row, column, a, b } of spots) {
        const at = 12 * (row * low.width + column);
        const mine = [0, 1, 2].map((c) => [...maps.subarray(at + 4 * c, at + 4 * c + 4)]);
        for (let c = 0; c < 3; c++) {
          for (let k = 0; k < 3; k++) expect(mine[c]![k]).toBeCloseTo(a[k]![c]!, 8);
          expect(mine[c]![3]).toBeCloseTo(b[c]!, 8);
        }
      }
    }
  });
});

describe("guided detail in tiles", () => {
  let restorer: Restorer;
  const radius = 3;
  beforeAll(() => {
    restorer = new Restorer(gpu(), 3, { radius, epsilon: EPSILON });
  });
  afterAll(() => restorer?.dispose());

  it.each<[string, [number, number], [number, number]]>([
    ["one pixel of one", [1, 1], [1, 1]],
    ["one pixel of many", [1, 1], [9, 7]],
    ["many of one", [23, 5], [1, 1]],
    ["a line", [1, 300], [2, 40]],
    ["an image whose tiles are many because it is large", [1100, 1030], [31, 29]],
    ["an image whose tiles are many because its maps are", [300, 270], [300, 270]],
    ["an image that is smaller than what was painted", [40, 30], [61, 47]],
  ])("is that of the whole image: %s", async (_, [width, height], [w, h]) => {
    const full = smooth(width, height, 1);
    const [content, painted] = [smooth(w, h, 1), smooth(w, h, 2)];
    const mapping: Mapping = { ...whole(full), source: whole(full), low: whole(content) };
    if (width > 1024 || w > 256) expect(tilesOf(mapping, radius).length).toBeGreaterThan(2);
    const seen = { content: content.data, painted: unit(painted), place: whole(content) };
    const result = await restorer.restore(full, mapping, seen);
    expect(worst(result.data, restoredByOracle(full, mapping, content, painted, radius, EPSILON))).toBeLessThanOrEqual(0.501);
  });

  it("leaves a content in a Buffer as it is, of which slice is a view", async () => {
    const full = smooth(5, 1100, 1);
    const [content, painted] = [smooth(5, 20, 1), smooth(5, 20, 2)];
    const mapping: Mapping = { ...whole(full), source: whole(full), low: whole(content) };
    const seen = { content: content.data, painted: unit(painted), place: whole(content) };
    const data = Buffer.from(full.data);
    const result = await restorer.restore({ ...full, data }, mapping, seen);
    expect(data.equals(full.data)).toBe(true);
    expect(result.data).toEqual((await restorer.restore(full, mapping, seen)).data);
  });

  it("takes a part of the image for what was seen, and a part of what was seen for the image", async () => {
    const full = smooth(90, 40, 1);
    const [content, painted] = [smooth(48, 48, 1), smooth(48, 48, 2)];
    const mapping: Mapping = {
      ...whole(full),
      source: { left: 25, top: 0, width: 40, height: 40 },
      low: { left: 4, top: 8, width: 30, height: 30 },
    };
    const seen = { content: content.data, painted: unit(painted), place: whole(content) };
    const result = await restorer.restore(full, mapping, seen);
    expect(worst(result.data, restoredByOracle(full, mapping, content, painted, radius, EPSILON))).toBeLessThanOrEqual(0.501);
  });
});
