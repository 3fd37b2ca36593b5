import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import {
  HOSPITALS,
  paintConcentrations,
  paintTissue,
  randomHospital,
  stainTissue,
  type TissueOptions,
  type TissueTile,
} from "../../src/tissue/painter.js";

const KINDS = ["mixed", "lymphoid", "stroma", "gland", "tumour"] as const;

function meanColour(tile: TissueTile): readonly [number, number, number] {
  const sum: [number, number, number] = [0, 0, 0];
  for (let k = 0; k < tile.data.length; k += 3) {
    sum[0] += tile.data[k]!;
    sum[1] += tile.data[k + 1]!;
    sum[2] += tile.data[k + 2]!;
  }
  const n = tile.width * tile.height;
  return [sum[0] / n, sum[1] / n, sum[2] / n];
}

function distance(a: readonly number[], b: readonly number[]): number {
  return Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0));
}

describe("determinism", () => {
  it("paints the same bytes twice, whatever was painted in between", () => {
    const first = paintTissue({ size: 64, seed: 5, hospital: 2 });
    paintTissue({ size: 48, seed: 6 });
    const second = paintTissue({ size: 64, seed: 5, hospital: 2 });
    expect(second.data).toEqual(first.data);
    expect(second.nuclei).toEqual(first.nuclei);
  });

  it("paints what it painted when this was written", () => {
    // The diagonal of a tile, every eighth pixel. One level of slack for rounding on other machines.
    const stored = [
      172, 126, 164, 88, 68, 110, 137, 101, 142, 118, 82, 127, 179, 125, 170, 129, 86, 129, 122, 90, 137, 98, 74, 118,
    ];
    const tile = paintTissue({ size: 64, seed: 11, hospital: 0, kind: "tumour" });
    const now: number[] = [];
    for (let i = 0; i < 64; i += 8) now.push(...tile.data.subarray((i * 64 + i) * 3, (i * 64 + i) * 3 + 3));
    for (const [k, level] of stored.entries()) expect(Math.abs(now[k]! - level), `byte ${k}`).toBeLessThanOrEqual(1);
    expect(tile.nuclei).toHaveLength(9);
  });

  it("paints different tissue for seeds that differ by little or by much", () => {
    const seeds = [0, 1, -1, 0.5, 2 ** 32, 2 ** 40 + 1];
    const seen = new Set(seeds.map((seed) => paintConcentrations({ size: 32, seed }).eosin.join()));
    expect(seen.size).toBe(seeds.length);
  });

  it("draws the same random hospital from the same seed, and another from another", () => {
    expect(randomHospital(3)).toEqual(randomHospital(3));
    expect(randomHospital(3).haematoxylin).not.toEqual(randomHospital(4).haematoxylin);
  });
});

describe("pairs", () => {
  it.each(KINDS)("shows one anatomy in two stains: %s", (kind) => {
    const options: TissueOptions = { size: 72, seed: 21, kind };
    const one = paintConcentrations({ ...options, hospital: 0 });
    const two = paintConcentrations({ ...options, hospital: randomHospital(9) });
    expect(two.haematoxylin).toEqual(one.haematoxylin);
    expect(two.eosin).toEqual(one.eosin);
    const here = paintTissue({ ...options, hospital: 0 });
    const there = paintTissue({ ...options, hospital: 4 });
    expect(there.tumourMask).toEqual(here.tumourMask);
    expect(there.nuclei).toEqual(here.nuclei);
    expect(there.data).not.toEqual(here.data);
  });

  it("is what staining the bare anatomy gives", () => {
    const anatomy = paintConcentrations({ size: 40, seed: 2 });
    expect(stainTissue(anatomy, 3)).toEqual(paintTissue({ size: 40, seed: 2, hospital: 3 }));
  });

  it("keeps concentrations finite and not negative", () => {
    for (const kind of KINDS) {
      const { haematoxylin, eosin } = paintConcentrations({ size: 96, seed: 4, kind });
      for (const map of [haematoxylin, eosin]) {
        expect(map.every((v) => v >= 0 && v < 3)).toBe(true);
        expect(map.some((v) => v > 0.3)).toBe(true);
      }
    }
  });
});

describe("hospitals", () => {
  it("differ from each other by more than their own tiles differ", () => {
    // One composition of tissue, so that colour differs by stain and not by how much tissue there is.
    const seeds = [1, 2, 3, 4];
    const tiles = HOSPITALS.map((_, hospital) =>
      seeds.map((seed) => meanColour(stainTissue(paintConcentrations({ size: 96, kind: "lymphoid", seed: 40 }), hospital, seed))),
    );
    const centres = tiles.map((colours) =>
      [0, 1, 2].map((c) => colours.reduce((sum, colour) => sum + colour[c]!, 0) / seeds.length),
    );
    const within = tiles.flatMap((colours, h) => colours.map((colour) => distance(colour, centres[h]!)));
    const spread = within.reduce((a, b) => a + b) / within.length;
    for (let a = 0; a < centres.length; a++) {
      for (let b = 0; b < a; b++) expect(distance(centres[a]!, centres[b]!), `${a} and ${b}`).toBeGreaterThan(2.5 * spread);
    }
  });

  it("are endless, and stay within what a stain can be", () => {
    for (let seed = 0; seed < 200; seed++) {
      const hospital = randomHospital(seed);
      const [hr, hg] = hospital.haematoxylin;
      const [er, eg] = hospital.eosin;
      // Haematoxylin takes more red light than eosin does, relative to green: that is what makes it blue.
      expect(hr / hg, `seed ${seed}`).toBeGreaterThan(er / eg + 0.1);
      expect(Math.max(...hospital.whitePoint)).toBeLessThanOrEqual(255);
    }
    expect(() => paintTissue({ size: 8, hospital: randomHospital(Number.MAX_SAFE_INTEGER) })).not.toThrow();
  });

  it("shows glass as its white point", () => {
    const anatomy = paintConcentrations({ size: 32, seed: 1 });
    const blank = { ...anatomy, haematoxylin: new Float32Array(1024), eosin: new Float32Array(1024) };
    const quiet = { ...HOSPITALS[4]!, noise: 0, illumination: 0, saturation: 1 };
    const { data } = stainTissue(blank, quiet);
    for (let c = 0; c < 3; c++) expect(Math.abs(data[300 + c]! - quiet.whitePoint[c]!)).toBeLessThanOrEqual(1);
  });

  it("obeys Beer and Lambert", () => {
    const anatomy = paintConcentrations({ size: 16, seed: 1 });
    const thick = { ...anatomy, haematoxylin: new Float32Array(256).fill(0.5), eosin: new Float32Array(256) };
    const base = {
      ...HOSPITALS[0]!,
      noise: 0,
      illumination: 0,
      saturation: 1,
      gamma: 1,
      glare: 0,
      whitePoint: [250, 250, 250] as const,
    };
    const once = stainTissue(thick, base).data;
    const twice = stainTissue({ ...thick, haematoxylin: new Float32Array(256).fill(1) }, base).data;
    for (let c = 0; c < 3; c++) expect(Math.abs(twice[c]! / 250 - (once[c]! / 250) ** 2)).toBeLessThan(0.01);
  });
});

describe("labels", () => {
  it("agree with each other", () => {
    let tumourNuclei = 0;
    let inside = 0;
    for (let seed = 0; seed < 12; seed++) {
      const tile = paintTissue({ size: 160, seed, kind: seed % 2 ? "mixed" : "tumour" });
      const ones = tile.tumourMask.reduce((a, b) => a + b, 0);
      expect(tile.tumourMask).toHaveLength(160 * 160);
      expect(tile.tumourMask.every((v) => v === 0 || v === 1)).toBe(true);
      expect(tile.tumourFraction).toBeCloseTo(ones / 160 ** 2, 12);
      for (const { x, y, radius, kind } of tile.nuclei) {
        expect(x >= 0 && x < 160 && y >= 0 && y < 160 && radius > 1 && radius < 24).toBe(true);
        if (kind !== "tumour") continue;
        tumourNuclei++;
        inside += tile.tumourMask[Math.floor(y) * 160 + Math.floor(x)]!;
      }
    }
    expect(tumourNuclei).toBeGreaterThan(100);
    expect(inside / tumourNuclei).toBeGreaterThan(0.99);
  });

  it("finds haematoxylin where nuclei are", () => {
    const anatomy = paintConcentrations({ size: 224, seed: 8, kind: "lymphoid" });
    const mean = anatomy.haematoxylin.reduce((a, b) => a + b, 0) / anatomy.haematoxylin.length;
    const dark = anatomy.nuclei.filter(({ x, y }) => anatomy.haematoxylin[Math.floor(y) * 224 + Math.floor(x)]! > mean);
    expect(anatomy.nuclei.length).toBeGreaterThan(100);
    expect(dark.length / anatomy.nuclei.length).toBeGreaterThan(0.85);
  });

  it("knows tumour from what is none", () => {
    for (let seed = 0; seed < 6; seed++) {
      for (const kind of ["lymphoid", "stroma", "gland"] as const)
        expect(paintTissue({ size: 64, seed, kind }).tumourFraction).toBe(0);
      expect(paintTissue({ size: 128, seed, kind: "tumour" }).tumourFraction).toBeGreaterThan(0.2);
    }
  });

  it("gives lymphocytes their size", () => {
    const { nuclei } = paintTissue({ size: 224, seed: 3, kind: "lymphoid" });
    const sizes = nuclei.filter(({ kind }) => kind === "lymphocyte").map(({ radius }) => radius);
    // 5 to 8 µm across.
    const diameter = (2 * 0.5 * sizes.reduce((a, b) => a + b, 0)) / sizes.length;
    expect(diameter).toBeGreaterThan(5);
    expect(diameter).toBeLessThan(8);
  });
});

describe("geometry", () => {
  it.each([1, 2, 33, 97])("paints a tile of %i pixels", (size) => {
    const tile = paintTissue({ size, seed: 1, hospital: 1 });
    expect([tile.width, tile.height, tile.channels]).toEqual([size, size, 3]);
    expect(tile.data).toHaveLength(size * size * 3);
    expect(tile.tumourMask).toHaveLength(size * size);
  });

  it("shows more tissue in a larger tile, and the same tissue at another scale", () => {
    const count = (size: number, micronsPerPixel: number) =>
      paintConcentrations({ size, seed: 3, kind: "lymphoid", micronsPerPixel }).nuclei.length;
    expect(count(256, 0.5)).toBeGreaterThan(2.5 * count(128, 0.5));
    expect(count(64, 2)).toBe(count(256, 0.5));
  });

  it("is fast", () => {
    paintTissue({ seed: 1 });
    const start = performance.now();
    for (let seed = 2; seed < 6; seed++) paintTissue({ seed });
    // About 60 ms each on a slow core; the rest is room for a busy machine.
    expect((performance.now() - start) / 4).toBeLessThan(1000);
  });
});

describe("arguments", () => {
  const wrong: [string, TissueOptions][] = [
    ["size 0", { size: 0 }],
    ["a fractional size", { size: 10.5 }],
    ["a huge size", { size: 4097 }],
    ["size NaN", { size: Number.NaN }],
    ["seed NaN", { seed: Number.NaN }],
    ["seed infinity", { seed: Number.POSITIVE_INFINITY }],
    ["hospital -1", { hospital: -1 }],
    ["hospital 5.5", { hospital: 5.5 }],
    ["a hospital too many", { hospital: HOSPITALS.length }],
    ["half a hospital", { hospital: { name: "half" } as never }],
    ["no hospital", { hospital: null as never }],
    ["a hospital that is not finite", { hospital: { ...HOSPITALS[0]!, gamma: Number.NaN } }],
    ["a blur beyond the tile", { hospital: { ...HOSPITALS[0]!, blur: 1e6 } }],
    ["a stain without a colour", { hospital: { ...HOSPITALS[0]!, eosin: [0, 0, 0] } }],
    ["an unknown kind", { kind: "brain" as never }],
    ["scale 0", { micronsPerPixel: 0 }],
    ["scale NaN", { micronsPerPixel: Number.NaN }],
    ["more tissue than allowed", { size: 2048, micronsPerPixel: 3 }],
  ];
  it.each(wrong)("refuses %s", (_, options) => {
    for (const paint of [paintTissue, paintConcentrations]) {
      let thrown: unknown;
      try {
        paint(options);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(StylizingError);
      expect((thrown as StylizingError).code).toBe("ARGUMENT");
      expect((thrown as StylizingError).fix.length).toBeGreaterThan(10);
    }
  });

  it("refuses a hospital's seed that is not finite", () => {
    expect(() => randomHospital(Number.NaN)).toThrow(StylizingError);
    expect(() => stainTissue(paintConcentrations({ size: 4 }), 0, Number.NaN)).toThrow(StylizingError);
  });
});
