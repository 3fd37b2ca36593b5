import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { splitStratified } from "../../src/labels/split.js";
import { permutation } from "../../src/random.js";
import { failure } from "../image/helpers.js";

interface File {
  name: string;
  label: number;
  group?: string;
}

/** So many images of each class, without groups. */
const singles = (counts: readonly number[]): File[] =>
  counts.flatMap((count, label) => Array.from({ length: count }, (_, i) => ({ name: `${label}/${i}.png`, label })));

const countOf = (files: readonly File[], label: number) => files.filter((file) => file.label === label).length;
const labelsOf = (files: readonly File[]) => [...new Set(files.map(({ label }) => label))].sort((a, b) => a - b);
const names = (files: readonly File[]) => files.map(({ name }) => name);

function expectPartition(files: readonly File[], { training, validation }: ReturnType<typeof splitStratified<File>>): void {
  const byName = (a: File, b: File) => (a.name < b.name ? -1 : 1);
  expect([...training, ...validation].sort(byName)).toEqual(files.toSorted(byName));
  for (const side of [training, validation]) {
    expect(side).toEqual(side.toSorted(byName));
    expect(labelsOf(side)).toEqual(labelsOf(files));
    for (const { group } of side)
      if (group !== undefined)
        expect((side === training ? validation : training).some((file) => file.group === group)).toBe(false);
  }
}

const portions = fc.double({ min: 0.01, max: 0.99, noNaN: true });
const shuffled = <T>(list: readonly T[], seed: number) => Array.from(permutation(list.length, seed), (i) => list[i]!);

describe("splitStratified", () => {
  it("takes the portion of every class, at least one and not all", () => {
    const counts = fc.array(fc.integer({ min: 2, max: 25 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(counts, portions, fc.maxSafeInteger(), fc.nat(), (sizes, portion, seed, order) => {
        const files = singles(sizes);
        const split = splitStratified(files, portion, seed);
        expectPartition(files, split);
        for (const [label, size] of sizes.entries())
          expect(countOf(split.validation, label)).toBe(Math.min(size - 1, Math.max(1, Math.round(portion * size))));
        expect(splitStratified(shuffled(files, order), portion, seed)).toEqual(split);
      }),
    );
  });

  it("chooses by seed, every image as often as any other", () => {
    const files = singles([10, 5]);
    const times = new Map(files.map(({ name }) => [name, 0]));
    for (let seed = 0; seed < 2000; seed++)
      for (const { name } of splitStratified(files, 0.2, seed).validation) times.set(name, times.get(name)! + 1);
    // Six deviations of a binomial count.
    for (const count of times.values()) expect(Math.abs(count - 400)).toBeLessThan(6 * Math.sqrt(2000 * 0.2 * 0.8));
  });

  const grouped = fc
    .nat(7)
    .chain((most) => fc.array(fc.tuple(fc.nat(most), fc.option(fc.nat(9), { nil: undefined })), { minLength: 2, maxLength: 40 }))
    .map((rows) =>
      rows.map(([label, group], i): File => ({ name: `${i}`, label, ...(group === undefined ? {} : { group: `g${group}` }) })),
    );

  /** Whether groups can be divided at all, by trying every way. */
  function canBeDivided(files: readonly File[]): boolean {
    const masks = new Map<string, number>();
    for (const { name, label, group } of files) {
      const key = group ?? `alone ${name}`;
      masks.set(key, (masks.get(key) ?? 0) | (1 << label));
    }
    const units = [...masks.values()];
    const all = units.reduce((a, b) => a | b);
    for (let ways = 0; ways < 2 ** units.length; ways++) {
      let [one, other] = [0, 0];
      for (const [i, mask] of units.entries()) {
        if ((ways >> i) & 1) one |= mask;
        else other |= mask;
      }
      if (one === all && other === all) return true;
    }
    return false;
  }

  it("keeps groups whole, and finds a way wherever there is one", () => {
    let [done, refused] = [0, 0];
    fc.assert(
      fc.property(grouped, portions, fc.maxSafeInteger(), fc.nat(), (files, portion, seed, order) => {
        const few = new Set(files.map(({ name, group }) => group ?? name)).size <= 12;
        try {
          const split = splitStratified(files, portion, seed);
          expectPartition(files, split);
          expect(splitStratified(shuffled(files, order), portion, seed)).toEqual(split);
          done++;
        } catch (error) {
          expect(error).toMatchObject({ code: "ARGUMENT" });
          if (few) expect(canBeDivided(files)).toBe(false);
          refused++;
        }
      }),
      { numRuns: 400 },
    );
    expect(Math.min(done, refused)).toBeGreaterThan(10);
  });

  it("deals groups out again where one order leads nowhere", () => {
    const labels: Record<string, number[]> = {
      g1: [4, 3, 3],
      g2: [4, 2],
      g3: [6, 3],
      g5: [6, 5],
      a: [2],
      b: [5],
      c: [5],
      d: [5],
    };
    const files = Object.entries(labels).flatMap(([group, list]) =>
      list.map((label, i): File => ({ name: `${group}/${i}`, label, group })),
    );
    for (let seed = 0; seed < 200; seed++) expectPartition(files, splitStratified(files, 0.01, seed));
  });

  it("comes within half of the largest group to the portion, where each group has one class", () => {
    // A large group that came in first could not leave any more. Ten classes of one large and three small groups.
    for (const [large, small, portion, off] of [
      [6, 1, 0.2, 0],
      [12, 4, 0.25, 2],
    ] as const) {
      const files = Array.from({ length: 40 }, (_, g) =>
        Array.from({ length: g % 4 ? small : large }, (_, i): File => ({ name: `${g}/${i}`, label: g >> 2, group: `${g}` })),
      ).flat();
      const target = Math.round(portion * (large + 3 * small));
      for (let seed = 0; seed < 50; seed++) {
        const { validation } = splitStratified(files, portion, seed);
        for (const label of labelsOf(files)) expect(Math.abs(countOf(validation, label) - target)).toBe(off);
      }
    }
    const sizes = fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 6 })), { minLength: 20, maxLength: 40 });
    fc.assert(
      fc.property(sizes, fc.double({ min: 0.2, max: 0.8, noNaN: true }), fc.nat(), (groups, portion, seed) => {
        const files = groups.flatMap(([label, size], g) =>
          Array.from({ length: size }, (_, i): File => ({ name: `${g}/${i}`, label, group: `${g}` })),
        );
        for (const label of labelsOf(files)) fc.pre(groups.filter(([other]) => other === label).length >= 4);
        const { validation } = splitStratified(files, portion, seed);
        for (const label of labelsOf(files)) {
          const target = Math.round(portion * countOf(files, label));
          expect(Math.abs(countOf(validation, label) - target)).toBeLessThanOrEqual(3);
        }
      }),
    );
  });

  it("balances classes over groups that mix them", () => {
    // 60 patients, each with 1 to 8 images of three classes, of which the last is rare.
    const files = Array.from({ length: 60 }, (_, g) =>
      Array.from(permutation(8, g).subarray(0, 1 + (g % 8)), (value, i): File => {
        return { name: `${g}/${i}`, label: value < 4 ? 0 : value < 7 ? 1 : 2, group: `${g}` };
      }),
    ).flat();
    for (let seed = 0; seed < 20; seed++) {
      const { validation } = splitStratified(files, 0.25, seed);
      for (const label of [0, 1, 2]) expect(countOf(validation, label) / countOf(files, label)).toBeCloseTo(0.25, 1);
    }
    expect(names(splitStratified(files, 0.25, 1).validation)).not.toEqual(names(splitStratified(files, 0.25, 2).validation));
  });

  it("refuses portions out of range, and classes that cannot be on both sides", async () => {
    const split = async (files: readonly File[], portion = 0.5) => splitStratified(files, portion, 1);
    for (const portion of [0, 1, -0.1, 1.5, Number.NaN]) await failure(split(singles([2, 2]), portion), "ARGUMENT");
    expect((await failure(split(singles([3, 1])), "ARGUMENT")).message).toMatch(
      /class of 1\/0\.png has one image only.*Give images/,
    );
    const one = singles([3, 2]).map((file) => (file.label === 1 ? { ...file, group: "patient" } : file));
    expect((await failure(split(one), "ARGUMENT")).message).toMatch(/images of one group only.*another group/);
    // Three groups of two classes each: one of them is alone on its side.
    const triangle = [0, 1, 2].flatMap((group) =>
      [0, 1].map((k): File => ({ name: `${group}/${k}`, label: (group + k) % 3, group: `${group}` })),
    );
    expect((await failure(split(triangle), "ARGUMENT")).message).toMatch(/divide 3 groups.*Use smaller groups/);
  });
});
