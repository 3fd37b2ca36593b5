import { LEVEL_COUNTS, type LEVEL_RECIPES, levelCounts, levelTables, relevel } from "../../src/ops/levels.js";
import { Contents, flat, memo, type Op, type OpCase, randomOf, sentinels } from "../support/op.js";
import { perBatch } from "./published.js";
import { allLevels, benchSizes, type ImagesCase, levelsOf, resultBytes, SIZES, sceneOf, wordAt } from "./restyle.scene.js";

export const levelCountsOp: Op<ImagesCase> = {
  name: "level_counts",
  cases: [
    { name: "one pixel", sizes: SIZES.one },
    { name: "odd sizes", sizes: SIZES.odd },
    { name: "grey", sizes: SIZES.odd, channels: 1 },
    ...perBatch(({ bench, title, batch }): ImagesCase[] => [{ name: `${title}: counts`, bench, sizes: benchSizes(batch) }]),
  ],
  setup(one, profile) {
    const { channels = 3 } = one;
    const scene = sceneOf(one);
    const { batch } = scene;
    const contents = new Contents();
    const region = flat(LEVEL_COUNTS * one.sizes.length);
    const counts = contents.add(() => new Uint32Array(region.cols));
    const expected = memo(() => {
      const all = new Float64Array(region.cols);
      for (const [slot, image] of scene.images().entries())
        for (const levels of allLevels(image)) for (let c = 0; c < 3; c++) all[LEVEL_COUNTS * slot + 256 * c + levels[c]!]!++;
      return all;
    });
    return {
      call: levelCounts(profile, {
        ...{ channels, count: batch.room.chunks, counts },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        chunks: contents.add(() => batch.chunks),
      }),
      contents,
      outputs: [{ buffer: counts, kind: "bytes", region, adds: true }],
      results: [{ size: region.cols, value: wordAt, expected: (at) => expected()[at]!, exact: true }],
      flops: 0,
      shape: `${batch.room.chunks} chunks`,
    };
  },
};

interface TablesCase extends OpCase {
  recipe: keyof typeof LEVEL_RECIPES;
  count: number;
  /** Numbers of pixels of contents and of the style. */
  pixels: readonly [number, number];
  /** Levels that occur: anywhere, at a few places, at one, or nearly all at one. */
  spread: "wide" | "few" | "flat" | "lonely";
}

/** Counts of `pixels` by level. */
function histogram(random: ReturnType<typeof randomOf>, pixels: number, spread: TablesCase["spread"]): number[] {
  const counts = Array<number>(256).fill(0);
  const at = random.integer(200);
  if (spread === "flat") counts[at] = pixels;
  else if (spread === "lonely") {
    counts[at] = pixels - 1;
    counts[at + 50] = 1;
  } else {
    let left = pixels;
    for (let k = 0; left > 0; k++) {
      const some = Math.min(left, 1 + random.integer(pixels / (spread === "few" ? 4 : 200) + 1));
      counts[spread === "few" ? (k * 97) % 256 : random.integer(256)]! += some;
      left -= some;
    }
  }
  return counts;
}

const mean = (counts: readonly number[]): number =>
  counts.reduce((sum, count, level) => sum + count * level, 0) / counts.reduce((sum, count) => sum + count, 0);
const deviation = (counts: readonly number[]): number => {
  const middle = mean(counts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  return Math.sqrt(counts.reduce((sum, count, level) => sum + count * (level - middle) ** 2, 0) / total);
};
const cumulative = (counts: readonly number[]): bigint[] => {
  let sum = 0n;
  return counts.map((count) => (sum += BigInt(count)));
};

/** Where histogram matching takes a level, by exact fractions. */
function matched(own: readonly number[], style: readonly number[], level: number): number {
  const [here, there] = [cumulative(own), cumulative(style)];
  const [n, m] = [here[255]!, there[255]!];
  const levels = style.flatMap((count, at) => (count > 0 ? [at] : []));
  const share = here[level]! * m;
  const next = levels.find((at) => there[at]! * n >= share)!;
  const before = levels[levels.indexOf(next) - 1];
  if (before === undefined) return next;
  return before + ((next - before) * Number(share - there[before]! * n)) / Number((there[next]! - there[before]!) * n);
}

export const levelTablesOp: Op<TablesCase> = {
  name: "level_tables",
  cases: [
    ...(["colorist", "match"] as const).flatMap((recipe): TablesCase[] => [
      { name: `${recipe}, one pixel`, recipe, count: 1, pixels: [1, 1], spread: "wide" },
      { name: `${recipe}, many`, recipe, count: 5, pixels: [20_000, 777], spread: "wide" },
      { name: `${recipe}, a few levels`, recipe, count: 3, pixels: [1001, 50_176], spread: "few" },
      { name: `${recipe}, one level`, recipe, count: 2, pixels: [640, 640], spread: "flat" },
      {
        name: `${recipe}, one pixel of sixty million that is another`,
        recipe,
        count: 3,
        pixels: [60_000_000, 59_999_999],
        spread: "lonely",
      },
    ]),
    ...perBatch(({ bench, title, batch }): TablesCase[] => [
      { name: `${title}: tables`, bench, recipe: "match", count: batch, pixels: [50_176, 50_176], spread: "wide" },
    ]),
  ],
  setup(one, profile) {
    const { recipe, count, pixels, spread } = one;
    const made = memo(() => {
      const random = randomOf(one);
      const counts = Array.from({ length: 3 * (count + 1) }, (_, at) =>
        histogram(random, pixels[at < 3 * count ? 0 : 1], at % 2 === 1 && spread === "flat" ? "wide" : spread),
      );
      const jobs = new Float32Array(32 * count);
      for (let job = 0; job < count; job++) {
        jobs.set([count, recipe === "match" ? 0 : job % 4, 1, 1], 32 * job);
        jobs.set(recipe === "match" ? [job === 0 ? 1 : 0.6] : [0.3, 0.5, 0.7, 0, 0.1, 0.2, 0.15, 0], 32 * job + 4);
      }
      return { counts, jobs };
    });
    const numbersOf = (job: number, c: number): number[] => {
      const { counts, jobs } = made();
      const [own, style] = [counts[3 * job + c]!, counts[3 * count + c]!];
      const given = jobs[32 * job + 1]!;
      const goal = given % 2 === 1 ? jobs[32 * job + 4 + c]! : mean(style) / 255;
      return [mean(own) / 255, deviation(own) / 255, goal, given >= 2 ? jobs[32 * job + 8 + c]! : deviation(style) / 255];
    };
    const expected = memo(() => {
      const { counts, jobs } = made();
      return Array.from({ length: 768 * count }, (_, at) => {
        const [job, c, level] = [Math.floor(at / 768), Math.floor(at / 256) % 3, at % 256];
        const [own, style] = [counts[3 * job + c]!, counts[3 * count + c]!];
        if (recipe === "match") {
          const blend = jobs[32 * job + 4]!;
          return (blend * matched(own, style, level) + (1 - blend) * level) / 255;
        }
        const [from, wide, goal, spreadTo] = numbersOf(job, c) as [number, number, number, number];
        // Of one level alone every level goes to the mean: there are no others.
        return goal + (wide === 0 ? 0 : ((level / 255 - from) * spreadTo) / (wide + 1e-8));
      });
    });
    const contents = new Contents();
    const [region, numbersRegion] = [flat(768 * count), flat(12 * count)];
    const [table, numbers] = [contents.add(() => sentinels(region)), contents.add(() => sentinels(numbersRegion))];
    return {
      call: levelTables(profile, {
        ...{ recipe, count, table, numbers },
        counts: contents.add(() => new Uint32Array(made().counts.flat())),
        jobs: contents.add(() => made().jobs),
      }),
      contents,
      outputs: [
        { buffer: table, kind: "f32", region },
        { buffer: numbers, kind: "f32", region: numbersRegion },
      ],
      results: [
        { name: "table", size: region.cols, expected: (at) => expected()[at]! },
        {
          ...{ name: "numbers", of: 1, size: numbersRegion.cols },
          expected: (at) => (recipe === "match" ? 0 : numbersOf(Math.floor(at / 12), Math.floor(at / 4) % 3)[at % 4]!),
        },
      ],
      flops: 0,
      shape: `${count}`,
    };
  },
};

interface RelevelCase extends ImagesCase {
  background?: readonly number[];
}

export const relevelOp: Op<RelevelCase> = {
  name: "relevel",
  cases: [
    { name: "one pixel", sizes: SIZES.one },
    { name: "odd sizes", sizes: SIZES.odd },
    { name: "grey", sizes: SIZES.odd, channels: 1 },
    ...perBatch(({ bench, title, batch }): RelevelCase[] => [{ name: `${title}: levels`, bench, sizes: benchSizes(batch) }]),
  ],
  setup(one, profile) {
    const { channels = 3, background } = one;
    const strengths = [1, 0.4, 0, 0.8];
    const scene = sceneOf(one, (index) => ({ strength: strengths[index % 4]! }));
    const { batch } = scene;
    const table = memo(() => randomOf(one).uniforms(768 * one.sizes.length, -0.2, 1.2));
    const contents = new Contents();
    const region = flat(batch.resultWords);
    const result = contents.add(() => sentinels(region));
    const bytes = memo(() =>
      resultBytes(scene, (index, pixel) =>
        levelsOf(scene.images()[index]!, pixel).map((level, c) => {
          const strength = strengths[index % 4]!;
          const there = Math.min(1, Math.max(0, table()[768 * index + 256 * c + level]!));
          return strength * there + (1 - strength) * (level / 255);
        }),
      ),
    );
    return {
      call: relevel(profile, {
        ...{ channels, background, count: one.sizes.length, words: batch.room.words, result },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        table: contents.add(table),
        jobs: contents.add(() => batch.jobs),
      }),
      contents,
      outputs: [{ buffer: result, kind: "bytes", region }],
      // A value beside half a level may be rounded either way.
      results: [{ size: 4 * batch.resultWords, expected: (at) => bytes()[at]!, tolerance: () => ({ bound: 0, slack: () => 1 }) }],
      flops: 0,
      shape: one.sizes.map((sides) => sides.join(" × ")).join(", "),
    };
  },
};
