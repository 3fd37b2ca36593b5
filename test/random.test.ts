import { describe, expect, it } from "vitest";
import { pairJobs } from "../src/augment/inputs.js";
import {
  bell,
  between,
  fnv1a,
  foldSeed,
  fraction,
  hash32,
  indexBelow,
  mix32,
  mulberry32,
  permutation,
  scramble,
} from "../src/random.js";

// Recorded once: epochs, pairs, drawn tissue and weights that people have made must come out the same in later versions.
describe("bits that results hang on", () => {
  it("hashes of whole numbers", () => {
    expect([hash32(), hash32(0), hash32(1, 2, 3), hash32(2 ** 40 + 5, -1)]).toEqual([2654435769, 1694257816, 2035667129, 2468899625]); // biome-ignore format: a row
    expect(fraction(7, 1)).toBe(0.5380585482344031);
  });

  it("orders of epochs", () => {
    expect([...permutation(10, 1, 0, 3)]).toEqual([8, 1, 4, 0, 9, 6, 3, 5, 7, 2]);
    expect([...permutation(10, 5)]).toEqual([6, 9, 4, 0, 7, 3, 5, 8, 2, 1]);
  });

  it("styles of --pair random", () => {
    const styles = [13, 9, 10, 10, 12, 4, 8, 9, 8, 1, 14, 8];
    expect(styles.map((_, i) => indexBelow(17, 1, i))).toEqual(styles);
    const files = Array.from({ length: 17 }, (_, i) => ({ path: `${i}.png`, name: `${i}` }));
    expect(pairJobs(files.slice(0, 12), files, "random", 1).map(({ style }) => style)).toEqual(styles);
  });

  it("what tissue is drawn with", () => {
    expect([scramble(0, 0), scramble(1, 2), scramble(4294967295, 7)]).toEqual([2287948138, 1735922228, 2710708306]);
    expect([foldSeed(1, 0x40b), foldSeed(-2.5, 3), foldSeed(2 ** 45 + 1, 3)]).toEqual([2252440875, 3298133807, 2276271280]);
    const one = mulberry32(1);
    expect([one(), one(), one()]).toEqual([0.6270739405881613, 0.002735721180215478, 0.5274470399599522]);
    const other = mulberry32(-7);
    expect([other(), bell(other), between(other, 2, 5)]).toEqual([0.43306733411736786, -1.04169896492903, 2.12356941960752]);
  });

  it("FNV-1a as its authors publish it", () => {
    expect(["", "a", "foobar"].map(fnv1a)).toEqual([0x811c9dc5, 0xe40c292c, 0xbf9cf968]);
    expect(fnv1a("±")).toBe(Math.imul(Math.imul(0x811c9dc5 ^ 0xc2, 0x01000193) ^ 0xb1, 0x01000193) >>> 0);
  });
});

it("mixing is one to one and gives unsigned numbers", () => {
  const seen = new Set(Array.from({ length: 100_000 }, (_, i) => mix32(i * 42_949 - 2 ** 31)));
  expect(seen.size).toBe(100_000);
  for (const bits of seen) if (!(bits >= 0 && bits < 2 ** 32)) expect.unreachable(`${bits}`);
});
