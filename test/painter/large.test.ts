import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { EPSILON } from "../../src/detail/guided.js";
import { Restorer } from "../../src/detail/restorer.js";
import { blendWeights } from "../../src/detail/windows.js";
import { decodeImage } from "../../src/image/decode.js";
import { resize } from "../../src/image/resize.js";
import { GLASS } from "../../src/image/tissue-weight.js";
import type { PixelImage, RowSource } from "../../src/image/types.js";
import { type LargePainting, paintLarge } from "../../src/painter/large.js";
import { restoredByOracle, smooth } from "../detail/oracle.js";
import { goldenFolder } from "../support/fixtures.js";
import { gpuOfThisFile } from "../support/gpu.js";

const gpu = gpuOfThisFile();
const SIDE = 16;
const RADIUS = 2;

/** Rows of an image, and what was asked for: from top to bottom, and never much at a time. */
function source({ data, width, height, channels }: PixelImage): RowSource & { asked: [number, number][] } {
  const asked: [number, number][] = [];
  return {
    ...{ width, height, asked },
    rows: (top, count) => {
      asked.push([top, top + count]);
      return data.slice(top * width * channels, (top + count) * width * channels);
    },
  };
}

/** What takes the place of a model: colours that depend on the window's own mean, so that windows differ. */
function painter(windows: readonly Uint8Array[]): Promise<Uint8Array> {
  const all = windows.map((window) => {
    const mean = window.reduce((sum, level) => sum + level, 0) / window.length;
    return window.map((level) => Math.max(0, Math.min(255, Math.round(0.7 * level + 0.4 * mean - 20))));
  });
  return Promise.resolve(Uint8Array.from(all.flatMap((one) => [...one])));
}

const paintAll: LargePainting["paint"] = async (count, windowOf, results) =>
  results.set(await painter(Array.from({ length: count }, (_, index) => windowOf(index))));

async function painted(
  full: PixelImage,
  low: PixelImage | undefined,
  { background, ...changes }: Partial<LargePainting> & { background?: readonly number[] } = {},
) {
  const { channels } = full;
  using restorer = new Restorer(gpu(), channels, { radius: RADIUS, epsilon: EPSILON, background });
  const own = source(full);
  const seen = low ? source(low) : own;
  const data = new Uint8Array(full.data.length);
  let next = 0;
  for await (const band of paintLarge({
    ...{ channels, full: own, low: seen, side: SIDE, radius: RADIUS, skipBlank: false },
    paint: paintAll,
    restoreRow: (...row) => restorer.restoreRow(...row),
    ...changes,
  })) {
    expect(band.top).toBe(next);
    expect(band.data.length).toBe(band.rows * full.width * channels);
    data.set(band.data, band.top * full.width * channels);
    next += band.rows;
  }
  expect(next).toBe(full.height);
  return { data, full: own, low: seen };
}

/** The same in float64: all windows, blended, and detail of the whole image. */
async function byOracle(full: PixelImage, low: PixelImage, background?: readonly number[]): Promise<Float64Array> {
  const { width, height, channels } = low;
  const blend = (size: number) => blendWeights(size, SIDE, SIDE / 4);
  const inside = (size: number) => (size < SIDE ? (SIDE - size) >> 1 : 0);
  const canvas = new Float32Array(width * height * channels);
  const at = (place: number, size: number) => {
    const turn = (((place - inside(size)) % (2 * size)) + 2 * size) % (2 * size);
    return turn < size ? turn : 2 * size - 1 - turn;
  };
  for (const { origin: top, weights: rows } of blend(height))
    for (const { origin: left, weights: columns } of blend(width)) {
      const index = (y: number, x: number, c: number) => (at(top + y, height) * width + at(left + x, width)) * channels + c;
      const places = Array.from({ length: SIDE * SIDE * channels }, (_, k) => {
        const pixel = Math.floor(k / channels);
        return index(Math.floor(pixel / SIDE), pixel % SIDE, k % channels);
      });
      const result = await painter([Uint8Array.from(places, (place) => low.data[place]!)]);
      for (const [k, place] of places.entries()) {
        const [y, x] = [Math.floor(k / channels / SIDE), Math.floor(k / channels) % SIDE];
        const real = (i: number, size: number, first: number) => i + first >= inside(size) && i + first < inside(size) + size;
        if (real(y, height, top) && real(x, width, left)) canvas[place]! += (rows[y]! * columns[x]! * result[k]!) / 255;
      }
    }
  const whole = (image: PixelImage) => ({ left: 0, top: 0, width: image.width, height: image.height });
  const mapping = { width: full.width, height: full.height, source: whole(full), low: whole(low) };
  return restoredByOracle(full, mapping, low, { data: canvas }, RADIUS, EPSILON, background);
}

const worst = (one: Uint8Array, other: ArrayLike<number>) =>
  one.reduce((most, value, at) => Math.max(most, Math.abs(value - other[at]!)), 0);

describe("an image in windows", () => {
  it.each<[string, [number, number], [number, number] | undefined, 1 | 3]>([
    ["at its own scale", [70, 61], undefined, 3],
    ["at a third of it", [120, 93], [40, 31], 3],
    ["grey", [50, 40], undefined, 1],
    ["one window", [40, 40], [16, 16], 3],
    ["narrower than a window", [9, 75], undefined, 3],
    ["lower than a window", [130, 15], [43, 5], 3],
    ["smaller than a window", [7, 5], undefined, 3],
    ["one pixel", [1, 1], undefined, 3],
    ["in many bands", [33, 600], undefined, 3],
  ])("is as if it were painted and restored whole: %s", async (_, [width, height], size, channels) => {
    const full = smooth(width, height, 1, channels);
    const low = size && smooth(...size, 1, channels);
    const result = await painted(full, low);
    expect(worst(result.data, await byOracle(full, low ?? full))).toBeLessThanOrEqual(0.502);
    const tops = result.low.asked.map(([top]) => top);
    expect(tops).toEqual([...tops].sort((a, b) => a - b));
  });

  it.each([1, 3])("keeps bare glass across its bands, at a scale of one in %i", async (scale) => {
    // Glass and tissue in stripes that no band's edge falls between for long.
    const full = smooth(30, 900, 1);
    for (let y = 0; y < 900; y++) if (y % 7 < 3) full.data.fill(238, y * 90, (y + 1) * 90);
    const low = scale === 1 ? undefined : await resize(full, 30 / scale, 900 / scale);
    const result = await painted(full, low, { background: GLASS });
    expect(worst(result.data, await byOracle(full, low ?? full, GLASS))).toBeLessThanOrEqual(0.502);
  });

  it("reads every row that the model sees once, and holds few of them", async () => {
    const { low, full } = await painted(smooth(20, 4000, 1), undefined);
    expect(low.asked.reduce((sum, [from, to]) => sum + to - from, 0)).toBe(4000);
    expect(Math.max(...full.asked.map(([from, to]) => to - from))).toBeLessThanOrEqual(SIDE);
  });

  it("leaves windows without tissue as they are, and does not paint them", async () => {
    const full = smooth(64, 96, 1);
    const glass = full.data.fill(240, 0, 64 * 48 * 3);
    let windows = 0;
    const { data } = await painted(full, undefined, {
      skipBlank: true,
      paint: (count, windowOf, results) => {
        windows += count;
        return paintAll(count, windowOf, results);
      },
    });
    const all = blendWeights(64, SIDE, SIDE / 4).length * blendWeights(96, SIDE, SIDE / 4).length;
    expect(windows).toBeLessThan(0.7 * all);
    expect(windows).toBeGreaterThan(0.4 * all);
    // Above the reach of any window that has some.
    expect(data.subarray(0, 64 * 20 * 3)).toEqual(glass.subarray(0, 64 * 20 * 3));
    expect(data.subarray(64 * 60 * 3)).not.toEqual(full.data.subarray(64 * 60 * 3));
    let none = 0;
    const blank = await painted({ ...full, data: new Uint8Array(full.data.length).fill(251) }, undefined, {
      skipBlank: true,
      paint: (count, windowOf, results) => {
        none += count;
        return paintAll(count, windowOf, results);
      },
      restoreRow: () => Promise.reject(new Error("nothing is to be restored")),
    });
    expect([none, new Set(blank.data)]).toEqual([0, new Set([251])]);
  });

  it("says how far it is, and stops when it is told to", async () => {
    const seen: [number, number][] = [];
    const stop = new AbortController();
    const reason = new Error("enough");
    const work = painted(smooth(40, 400, 1), undefined, {
      signal: stop.signal,
      onProgress: (done, total) => {
        seen.push([done, total]);
        if (done > total / 3) stop.abort(reason);
      },
    });
    await expect(work).rejects.toBe(reason);
    const total = blendWeights(40, SIDE, 4).length * blendWeights(400, SIDE, 4).length;
    expect(seen[0]).toEqual([3, total]);
    expect(seen.at(-1)![0]).toBeLessThan(total / 2);
  });

  const golden = goldenFolder("guided");
  it.skipIf(!golden)(
    `of the golden case, with its four windows${golden ? "" : ": no golden case beside the checkout"}`,
    async () => {
      const { guided } = JSON.parse(readFileSync(join(golden!, "cases.json"), "utf8")) as {
        guided: {
          windows?: { painted: string }[];
          content: string;
          contentLow: string;
          radius: number;
          eps: number;
          [key: string]: unknown;
        }[];
      };
      const one = guided.find(({ windows }) => windows)!;
      const read = (file: string) => decodeImage(join(golden!, file), { channels: 3 });
      const [full, low] = [await read(one.content), await read(one.contentLow)];
      const windows = await Promise.all(one.windows!.map(({ painted }) => read(painted)));
      const side = windows[0]!.width;
      expect(blendWeights(low.width, side, side / 4).length * blendWeights(low.height, side, side / 4).length).toBe(
        windows.length,
      );
      using restorer = new Restorer(gpu(), 3, { radius: one.radius, epsilon: one.eps });
      let next = 0;
      const data = new Uint8Array(full.data.length);
      for await (const band of paintLarge({
        ...{ channels: 3, full: source(full), low: source(low), side, radius: one.radius, skipBlank: false },
        paint: async (count, _, results) => {
          for (let index = 0; index < count; index++) results.set(windows[next++]!.data, index * side * side * 3);
        },
        restoreRow: (...row) => restorer.restoreRow(...row),
      }))
        data.set(band.data, band.top * full.width * 3);
      expect(worst(data, (await read("wide.expected-paint-first.png")).data)).toBeLessThanOrEqual(1);
    },
  );
});
