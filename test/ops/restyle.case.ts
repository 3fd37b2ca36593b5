import {
  type CHANGES,
  CHUNK,
  colourMoments,
  colourStatistics,
  levelTable,
  MACENKO_DARKEST,
  type MOMENT_RECIPES,
  momentRecipe,
  recolour,
  type Space,
  type WEIGHTS,
} from "../../src/ops/restyle.js";
import { Contents, flat, memo, type Op, randomOf, sentinels } from "../support/op.js";
import { perBatch } from "./published.js";
import { back, forth, momentsOf, times, tissueOf, type Vector } from "./restyle.oracle.js";
import { allLevels, benchSizes, type ImagesCase, levelsOf, resultBytes, SIZES, sceneOf } from "./restyle.scene.js";

export interface MomentsCase extends ImagesCase {
  space: Space;
  weight: keyof typeof WEIGHTS;
}

const momentsCases: readonly MomentsCase[] = [
  { name: "one pixel", sizes: SIZES.one, space: "lab", weight: "all" },
  { name: "odd sizes in lab", sizes: SIZES.odd, space: "lab", weight: "all" },
  { name: "odd sizes in lab, by tissue", sizes: SIZES.odd, space: "lab", weight: "tissue" },
  { name: "odd sizes in units of 8 bits", sizes: SIZES.odd, space: "lab8", weight: "all" },
  { name: "odd sizes in opponent space", sizes: SIZES.odd, space: "opponent", weight: "tissue" },
  { name: "densities of tissue", sizes: SIZES.odd, space: "macenko", weight: "macenko" },
  { name: "grey", sizes: SIZES.odd, channels: 1, space: "rgb", weight: "all" },
  { name: "one colour", sizes: SIZES.odd, shows: "flat", space: "opponent", weight: "all" },
  ...perBatch(({ bench, title, batch }): MomentsCase[] => [
    { name: `${title}: moments`, bench, sizes: benchSizes(batch), space: "lab", weight: "all" },
  ]),
];

const weightOf = (levels: Vector, weight: keyof typeof WEIGHTS): number =>
  weight === "tissue" ? tissueOf(levels) : weight === "macenko" ? Number(Math.max(...levels) <= MACENKO_DARKEST) : 1;

export const colourMomentsOp: Op<MomentsCase> = {
  name: "colour_moments",
  cases: momentsCases,
  setup(one, profile) {
    const { channels = 3, space, weight } = one;
    const scene = sceneOf(one);
    const { batch } = scene;
    const contents = new Contents();
    const count = batch.room.chunks;
    const region = flat(12 * count);
    const sums = contents.add(() => sentinels(region));
    const isChunk = (chunk: number) => batch.chunks[2 * chunk]! < one.sizes.length;
    const expected = memo(() =>
      Array.from({ length: count }, (_, chunk) => {
        if (!isChunk(chunk)) return undefined;
        const [slot, first] = [batch.chunks[2 * chunk]!, batch.chunks[2 * chunk + 1]!];
        const levels = allLevels(scene.images()[slot]!).slice(first, first + CHUNK);
        return momentsOf(
          levels.map((level) => forth(space, level)),
          levels.map((level) => weightOf(level, weight)),
        );
      }),
    );
    const of = (each: number, read: (numbers: ArrayLike<number>, chunk: number, k: number) => number, want: typeof read) => ({
      size: each * count,
      value: (numbers: ArrayLike<number>, at: number) =>
        isChunk(Math.floor(at / each)) ? read(numbers, Math.floor(at / each), at % each) : 0,
      expected: (at: number) => (isChunk(Math.floor(at / each)) ? want([], Math.floor(at / each), at % each) : 0),
    });
    const isFlat = one.shows === "flat" || one.sizes === SIZES.one;
    const covariance = (k: number) => (k < 3 ? 4 + k : 5 + k);
    return {
      call: colourMoments(profile, {
        ...{ channels, count, space, weight },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        chunks: contents.add(() => batch.chunks),
        tables: contents.add(levelTable),
        sums,
      }),
      contents,
      outputs: [{ buffer: sums, kind: "f32", region, stays: (at) => !isChunk(Math.floor(at / 12)) }],
      results: [
        {
          name: "weights",
          ...of(
            1,
            (numbers, chunk) => numbers[12 * chunk + 3]!,
            (_, chunk) => expected()[chunk]!.weight,
          ),
        },
        {
          name: "means",
          ...of(
            3,
            (numbers, chunk, k) => numbers[12 * chunk + k]!,
            (_, chunk, k) => expected()[chunk]!.mean[k]!,
          ),
        },
        {
          name: "covariances",
          ...of(
            6,
            (numbers, chunk, k) => numbers[12 * chunk + covariance(k)]! / Math.max(numbers[12 * chunk + 3]!, 1e-9),
            (_, chunk, k) => (isFlat ? 0 : expected()[chunk]!.sums[k]! / Math.max(expected()[chunk]!.weight, 1e-9)),
          ),
          // Of one colour they are exactly 0.
          ...(isFlat ? { tolerance: () => ({ bound: 0, slack: () => 0 }) } : {}),
        },
      ],
      flops: 0,
      shape: one.sizes.map((size) => size.join(" × ")).join(", "),
    };
  },
};

export const colourStatisticsOp: Op<ImagesCase> = {
  name: "colour_statistics",
  cases: [
    { name: "one pixel", sizes: SIZES.one },
    { name: "odd sizes", sizes: SIZES.odd },
    {
      name: "chunks beyond a workgroup's lanes",
      sizes: [
        [2048, 67],
        [3, 3],
      ],
    },
    ...perBatch(({ bench, title, batch }): ImagesCase[] => [{ name: `${title}: statistics`, bench, sizes: benchSizes(batch) }]),
  ],
  setup(one, profile) {
    const { batch } = sceneOf(one);
    const contents = new Contents();
    const count = one.sizes.length;
    // Every third chunk has no weight.
    const sums = memo(() => {
      const random = randomOf(one);
      return Float32Array.from({ length: 12 * batch.room.chunks }, (_, at) => {
        const chunk = Math.floor(at / 12);
        if (chunk % 3 === 1) return 0;
        return at % 12 === 3 ? random.uniform(1, CHUNK) : at % 12 < 3 ? random.uniform(40, 60) : random.uniform(0, 1e5);
      });
    });
    const expected = memo(() =>
      one.sizes.map(([width, height], slot) => {
        const [first, chunks] = [batch.images[12 * slot + 4]!, batch.images[12 * slot + 5]!];
        const parts = Array.from({ length: chunks }, (_, k) => [...sums().subarray(12 * (first + k), 12 * (first + k + 1))]);
        const weight = parts.reduce((sum, part) => sum + part[3]!, 0);
        const mean = [0, 1, 2].map((c) => parts.reduce((sum, part) => sum + part[3]! * part[c]!, 0) / (weight || 1));
        const around = (part: number[], a: number, b: number) => part[3]! * (part[a]! - mean[a]!) * (part[b]! - mean[b]!);
        const total = (at: number, a: number, b: number) => parts.reduce((sum, part) => sum + part[at]! + around(part, a, b), 0);
        const squares = [0, 1, 2].map((c) => total(4 + c, c, c));
        const products = [total(8, 0, 1), total(9, 0, 2), total(10, 1, 2)];
        const pixels = width * height;
        return [
          ...[...mean, weight],
          ...[...squares.map((value) => Math.sqrt(value / (weight || 1))), weight / pixels],
          ...[...squares, pixels],
          ...[...products, 0],
        ];
      }),
    );
    const region = flat(32 * count);
    const statistics = contents.add(() => sentinels(region));
    const part = (name: string, first: number, size: number) => ({
      name,
      size: size * count,
      value: (numbers: ArrayLike<number>, at: number) => numbers[32 * Math.floor(at / size) + first + (at % size)]!,
      expected: (at: number) => expected()[Math.floor(at / size)]![first + (at % size)]!,
    });
    return {
      call: colourStatistics(profile, {
        sums: contents.add(sums),
        images: contents.add(() => batch.images),
        count,
        statistics,
      }),
      contents,
      outputs: [{ buffer: statistics, kind: "f32", region, stays: (at) => at % 32 >= 16 }],
      results: [part("mean", 0, 3), part("deviation", 4, 3), part("shares", 7, 1), part("sums", 8, 8)],
      flops: 0,
      shape: `${count} of ${batch.room.chunks} chunks`,
    };
  },
};

interface RecipeCase extends ImagesCase {
  recipe: keyof typeof MOMENT_RECIPES;
  weighted?: boolean;
}

/** Slots of contents, and of a style behind them. */
const SLOTS = 70;
const none: ImagesCase["sizes"] = [];

export const momentRecipeOp: Op<RecipeCase> = {
  name: "moment_recipe",
  cases: [
    { name: "transfer", sizes: none, recipe: "transfer" },
    { name: "transfer by tissue", sizes: none, recipe: "transfer", weighted: true },
    { name: "modified", sizes: none, recipe: "modified" },
    { name: "brightness", sizes: none, recipe: "brightness" },
    { name: "tissue", sizes: none, recipe: "tissue" },
    ...perBatch(({ bench, title }): RecipeCase[] => [{ name: `${title}: recipes`, bench, sizes: none, recipe: "transfer" }]),
  ],
  setup(one, profile) {
    const { recipe, weighted = false } = one;
    const count = SLOTS - 1;
    const flatBelow = 1e-3;
    const made = memo(() => {
      const random = randomOf(one);
      const statistics = random.uniforms(32 * SLOTS, 0.1, 1);
      // A flat channel; no tissue; hardly any brightness.
      statistics[32 + 4] = 1e-4;
      statistics[2 * 32 + 7] = 0.009;
      statistics.set([0.1, 0.2, 0.05], 3 * 32);
      const jobs = new Float32Array(32 * count);
      for (let job = 0; job < count; job++) {
        jobs.set([SLOTS - 1, job % 4, 0.5, 1], 32 * job);
        jobs.set(random.uniforms(8, 0.1, 1), 32 * job + 4);
        if (job % 5 === 4) jobs.set([-1, 3], 32 * job);
      }
      return { statistics, jobs };
    });
    const expected = memo(() => {
      const { statistics, jobs } = made();
      const result = Float64Array.from(jobs);
      const style = 32 * (SLOTS - 1);
      for (let job = 0; job < count; job++) {
        const at = 32 * job;
        const share = statistics[at + 7]!;
        const declined = {
          tissue: share < 0.01,
          brightness: ![0.15, 0.85].every((edge, k) => {
            const mean = (statistics[at]! + statistics[at + 1]! + statistics[at + 2]!) / 3;
            return k === 0 ? mean >= edge : mean <= edge;
          }),
          transfer: weighted && share < 0.01,
          modified: weighted && share < 0.01,
        }[recipe];
        if (declined) result[at + 3] = 0;
        if (recipe === "tissue" || recipe === "brightness") continue;
        const given = jobs[at + 1]!;
        for (let c = 0; c < 3; c++) {
          const mean = given % 2 === 1 ? jobs[at + 4 + c]! : statistics[style + c]!;
          const deviation = given >= 2 ? jobs[at + 8 + c]! : statistics[style + 4 + c]!;
          const [own, spread] = [statistics[at + c]!, statistics[at + 4 + c]!];
          let [gain, goal] = [spread < flatBelow ? 1 : deviation / spread, mean];
          if (recipe === "modified") {
            const q = (deviation - spread) / deviation;
            [gain, goal] = c === 0 ? [1 + (q > 0 ? q : 0.05), own] : [1, mean];
          }
          result.set(
            [0, 1, 2].map((k) => (k === c ? gain : 0)),
            at + 4 + 4 * c,
          );
          result[at + 7 + 4 * c] = goal - gain * own;
        }
      }
      return result;
    });
    const contents = new Contents();
    const jobs = contents.add(() => made().jobs.slice());
    const region = flat(32 * count);
    return {
      call: momentRecipe(profile, {
        ...{ count, recipe, weighted, flat: flatBelow },
        statistics: contents.add(() => made().statistics),
        jobs,
      }),
      contents,
      outputs: [{ buffer: jobs, kind: "f32", region, adds: true }],
      results: [
        {
          name: "who declines",
          ...{ size: 4 * count, exact: true },
          value: (numbers, at) => numbers[32 * Math.floor(at / 4) + (at % 4)]!,
          expected: (at) => expected()[32 * Math.floor(at / 4) + (at % 4)]!,
        },
        {
          name: "recipes",
          size: 28 * count,
          value: (numbers, at) => numbers[32 * Math.floor(at / 28) + 4 + (at % 28)]!,
          expected: (at) => expected()[32 * Math.floor(at / 28) + 4 + (at % 28)]!,
        },
      ],
      flops: 0,
      shape: `${count}`,
    };
  },
};

interface RecolourCase extends ImagesCase {
  space: Space;
  change?: keyof typeof CHANGES;
  background?: readonly number[];
}

export const recolourOp: Op<RecolourCase> = {
  name: "recolour",
  cases: [
    { name: "one pixel", sizes: SIZES.one, space: "lab" },
    ...(["rgb", "lab", "lab8", "opponent"] as const).map((space) => ({ name: `${space}, odd sizes`, sizes: SIZES.odd, space })),
    { name: "densities, changed everywhere", sizes: SIZES.odd, space: "density", change: "all" },
    { name: "Macenko's densities, changed by tissue", sizes: SIZES.odd, space: "macenko", change: "tissue" },
    { name: "decadic densities", sizes: SIZES.odd, space: "decadic" },
    { name: "grey", sizes: SIZES.odd, channels: 1, space: "rgb" },
    ...perBatch(({ bench, title, batch }): RecolourCase[] => [
      { name: `${title}: recolour`, bench, sizes: benchSizes(batch), space: "lab" },
    ]),
  ],
  setup(one, profile) {
    const { channels = 3, space, change = "none", background } = one;
    const random = randomOf(one);
    // Nearly the identity, some of it shifted: results lie inside of [0, 1] and outside.
    const size = { rgb: 0.1, lab: 8, lab8: 10, opponent: 0.1, macenko: 0.2, density: 0.2, decadic: 0.1 }[space];
    const rows = one.sizes.map(() =>
      Array.from({ length: 6 }, (_, row) =>
        Array.from({ length: 4 }, (_, k) => {
          if (k === 3) return Math.fround(random.uniform(-size, size));
          return Math.fround((row < 3 && row === k ? 1 : 0) + random.uniform(-0.1, 0.1));
        }),
      ),
    );
    const strengths = [1, 0.3, 0.75, 0];
    const jobs = (index: number) => ({
      asked: { rows: rows[index]!, given: [false, false] as const },
      strength: strengths[index % 4]!,
    });
    const scene = sceneOf(one, jobs);
    const { batch } = scene;
    const contents = new Contents();
    const region = flat(batch.resultWords);
    const result = contents.add(() => sentinels(region));
    const bytes = memo(() =>
      resultBytes(scene, (index, pixel) => {
        const levels = levelsOf(scene.images()[index]!, pixel);
        const x = [...forth(space, levels), 1];
        const w = change === "none" ? 0 : change === "all" ? 1 : tissueOf(levels);
        const moved = times(rows[index]!.slice(3), x);
        const y = times(rows[index]!.slice(0, 3), x).map((value, k) => value + w * moved[k]!);
        const strength = strengths[index % 4]!;
        return back(space, y).map((value, k) => strength * Math.min(1, Math.max(0, value)) + (1 - strength) * (levels[k]! / 255));
      }),
    );
    return {
      call: recolour(profile, {
        ...{ channels, space, change, background, count: one.sizes.length, words: batch.room.words },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        tables: contents.add(levelTable),
        jobs: contents.add(() => batch.jobs),
        result,
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
