import { levelTable, MACENKO_DARKEST } from "../../src/ops/restyle.js";
import {
  type SELECTIONS,
  STAIN_COUNTS,
  type STAIN_RECIPES,
  type StainStep,
  stainCounts,
  stainFit,
  stainRecipe,
  stainSelect,
} from "../../src/ops/stains.js";
import { Contents, flat, memo, type Op, type OpCase, randomOf } from "../support/op.js";
import { perBatch } from "./published.js";
import { forth, inverted, times, type Vector } from "./restyle.oracle.js";
import { allLevels, benchSizes, type ImagesCase, SIZES, sceneOf, wordAt } from "./restyle.scene.js";

type Selection = keyof typeof SELECTIONS;

interface CountsCase extends ImagesCase {
  of: Selection;
  bits: number;
}

const dot = (a: Vector, b: Vector): number => a.reduce((sum, value, k) => sum + value * b[k]!, 0);
const KEYS = 2 ** 24 - 1;

/** Grows with atan2 from -2 to 2. */
function pseudoAngle(y: number, x: number): number {
  const share = Math.abs(y) / (Math.abs(x) + Math.abs(y));
  return Math.sign(y) * (x < 0 ? 2 - share : share);
}

/** Two axes of a plane, and rows of a pseudo-inverse with keys a unit; single, as the device has them. */
const PLANE = [
  [-0.35, 0.55, -0.62],
  [0.46, 0.78, 0.42],
].map((row) => row.map(Math.fround));
const ROWS = [
  [1.5, -0.6, -0.2],
  [-0.9, 1.4, 0.3],
].map((row) => row.map(Math.fround));
const UNITS = [KEYS / 14, KEYS / 11].map(Math.fround);

export const stainCountsOp: Op<CountsCase> = {
  name: "stain_counts",
  cases: [
    ...(["angles", "concentrations"] as const).flatMap((of): CountsCase[] => [
      { name: `${of}, one pixel`, sizes: SIZES.one, of, bits: 0 },
      { name: `${of}, the highest bits`, sizes: SIZES.odd, of, bits: 0 },
      { name: `${of}, the next`, sizes: SIZES.odd, of, bits: 1 },
    ]),
    ...perBatch(({ bench, title, batch }): CountsCase[] => [
      { name: `${title}: concentrations`, bench, sizes: benchSizes(batch), of: "concentrations", bits: 0 },
    ]),
  ],
  setup(one, profile) {
    const { channels = 3, of, bits } = one;
    const scene = sceneOf(one);
    const { batch } = scene;
    const slots = one.sizes.length;
    const keys = memo(() =>
      scene.images().map((image) =>
        allLevels(image)
          .filter((level) => of === "concentrations" || Math.max(...level) <= MACENKO_DARKEST)
          .map((level) => {
            const density = forth("macenko", level);
            const found =
              of === "angles"
                ? Array(2).fill((pseudoAngle(dot(density, PLANE[1]!), dot(density, PLANE[0]!)) + 2) * 2 ** 22)
                : ROWS.map((row, k) => dot(density, row) * UNITS[k]!);
            return found.map((key: number) => Math.floor(Math.min(KEYS, Math.max(0, key + 0.5))));
          }),
      ),
    );
    /** Of every target the highest bits of some pixel's key. */
    const above = (slot: number, target: number): number => {
      const all = keys()[slot]!;
      return all.length === 0 ? 0 : all[(target * 37) % all.length]![Math.floor(target / 2)]! >> 16;
    };
    const contents = new Contents();
    // Zero before, as it is in a run; another image's and another pass's stay so.
    const region = flat(slots * STAIN_COUNTS);
    const counts = contents.add(() => new Uint32Array(region.cols));
    const expected = memo(() => {
      const all = new Float64Array(region.cols);
      for (const [slot, own] of keys().entries())
        for (const pair of own)
          for (let target = 0; target < 4; target++) {
            const key = pair[Math.floor(target / 2)]!;
            if (bits === 1 && key >> 16 !== above(slot, target)) continue;
            const digit = (key >> (16 - 8 * bits)) & 255;
            all[((3 * Number(of === "concentrations") + bits) * slots + slot) * 1024 + 256 * target + digit]!++;
          }
      return all;
    });
    return {
      call: stainCounts(profile, {
        ...{ channels, of, bits, slots, count: batch.room.chunks },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        chunks: contents.add(() => batch.chunks),
        tables: contents.add(levelTable),
        statistics: contents.add(() => {
          const found = of === "angles" ? [...PLANE.map((row) => [...row, 0]), [0, 0, 0, 1], [0, 0, 0, 0]] : [];
          const rows = [
            [0, 0, 0, UNITS[0]!],
            [0, 0, 0, UNITS[1]!],
            [...ROWS[0]!, 1],
            [...ROWS[1]!, 0],
          ];
          const record = [...Array(16).fill(0), ...(of === "angles" ? found : rows).flat()] as number[];
          return Float32Array.from({ length: 32 * slots }, (_, at) => record[at % 32]!);
        }),
        targets: contents.add(() =>
          Uint32Array.from({ length: 16 * slots }, (_, at) => (at % 4 === 0 ? above(Math.floor(at / 16), (at % 16) / 4) : 0)),
        ),
        counts,
      }),
      contents,
      outputs: [{ buffer: counts, kind: "bytes", region, adds: true }],
      results: [
        {
          size: region.cols,
          value: wordAt,
          expected: (at) => expected()[at]!,
          // A key beside a bin's edge may fall on either side of it: a handful of pixels do.
          tolerance: () => ({ bound: 0, slack: () => 2 }),
        },
      ],
      flops: 0,
      shape: `${batch.room.chunks} chunks`,
    };
  },
};

interface SelectCase extends OpCase {
  of: Selection;
  bits: number;
  slots: number;
  /** Numbers that are counted, for each target. */
  total: number;
}

export const stainSelectOp: Op<SelectCase> = {
  name: "stain_select",
  cases: [
    { name: "none", of: "angles", bits: 0, slots: 1, total: 0 },
    { name: "one", of: "angles", bits: 0, slots: 1, total: 1 },
    { name: "two percentiles", of: "angles", bits: 0, slots: 3, total: 12_345 },
    { name: "of two quantities", of: "concentrations", bits: 0, slots: 20, total: 4_000_001 },
    { name: "bits below", of: "concentrations", bits: 2, slots: 3, total: 999 },
    ...perBatch(({ bench, title, batch }): SelectCase[] => [
      { name: `${title}: ranks`, bench, of: "angles", bits: 0, slots: batch, total: 50_000 },
    ]),
  ],
  setup(one, profile) {
    const { of, bits, slots, total } = one;
    const made = memo(() => {
      const random = randomOf(one);
      const counts = new Uint32Array(slots * STAIN_COUNTS);
      const targets = new Uint32Array(16 * slots);
      const pass = 3 * Number(of === "concentrations") + bits;
      for (let target = 0; target < 4 * slots; target++) {
        const own = counts.subarray(256 * (4 * slots * pass + target), 256 * (4 * slots * pass + target + 1));
        let left = total;
        // Some empty bins among them.
        for (let bin = 0; left > 0; bin = (bin + 1 + random.integer(5)) % 256) {
          const some = Math.min(left, 1 + random.integer(total / 50 + 1));
          own[bin]! += some;
          left -= some;
        }
        targets.set([random.integer(2 ** 16), random.integer(total), 0, 0x3e800000], 4 * target);
      }
      return { counts, targets, pass };
    });
    const expected = memo(() => {
      const { counts, targets, pass } = made();
      const result = targets.slice();
      for (let target = 0; target < 4 * slots; target++) {
        const own = counts.subarray(256 * (4 * slots * pass + target), 256 * (4 * slots * pass + target + 1));
        let [prefix, rank] = [targets[4 * target]!, targets[4 * target + 1]!];
        let share = targets[4 * target + 3]!;
        if (bits === 0) {
          const percent = of === "angles" && target % 4 < 2 ? 1 : 99;
          const place = (percent * Math.max(total - 1, 0)) / 100;
          rank = Math.min(Math.floor(place + 1e-9) + (target % 2), Math.max(total - 1, 0));
          const rest = (percent * Math.max(total - 1, 0)) % 100;
          share = new Uint32Array(Float32Array.of(rest / 100).buffer)[0]!;
          prefix = 0;
        }
        let [digit, below] = [255, 0];
        for (let bin = 0; bin < 256; below += own[bin++]!)
          if (rank < below + own[bin]!) {
            digit = bin;
            break;
          }
        result.set([((prefix << 8) | digit) >>> 0, Math.max(0, rank - below), 0, share], 4 * target);
      }
      return result;
    });
    const contents = new Contents();
    const targets = contents.add(() => made().targets.slice());
    const region = flat(16 * slots);
    return {
      call: stainSelect(profile, { of, bits, slots, counts: contents.add(() => made().counts), targets }),
      contents,
      outputs: [{ buffer: targets, kind: "bytes", region, adds: true }],
      results: [{ size: region.cols, value: wordAt, expected: (at) => expected()[at]!, exact: true }],
      flops: 0,
      shape: `${slots}`,
    };
  },
};

interface FitCase extends OpCase {
  step: StainStep;
  count: number;
}

const rotation = (a: number, b: number, c: number): number[][] => {
  const turn = (i: number, j: number, angle: number): number[][] =>
    [0, 1, 2].map((row) =>
      [0, 1, 2].map((col) => {
        if (row === col) return row === i || row === j ? Math.cos(angle) : 1;
        return row === i && col === j ? -Math.sin(angle) : row === j && col === i ? Math.sin(angle) : 0;
      }),
    );
  const product = (x: number[][], y: number[][]) =>
    x.map((row) => [0, 1, 2].map((k) => row.reduce((sum, v, l) => sum + v * y[l]![k]!, 0)));
  return product(product(turn(0, 1, a), turn(0, 2, b)), turn(1, 2, c));
};

export const stainFitOp: Op<FitCase> = {
  name: "stain_fit",
  cases: [
    ...(["plane", "stains", "most"] as const).map((step) => ({ name: step, step, count: 67 })),
    ...perBatch(({ bench, title, batch }): FitCase[] => [{ name: `${title}: plane`, bench, step: "plane", count: batch }]),
  ],
  setup(one, profile) {
    const { step, count } = one;
    const made = memo(() => {
      const random = randomOf(one);
      const statistics = new Float32Array(32 * count);
      const targets = new Uint32Array(16 * count);
      const result = new Float64Array(32 * count);
      for (let slot = 0; slot < count; slot++) {
        const at = 32 * slot;
        // The mean of tissue lies before both axes of its plane.
        const axes = rotation(random.uniform(-3, 3), random.uniform(-3, 3), random.uniform(-3, 3));
        const axis = (k: number) => axes.map((row) => row[k]!);
        const mean = [0, 1, 2].map((c) => 0.2 * axis(0)[c]! + 0.5 * axis(1)[c]! + 0.8 * axis(2)[c]!);
        if (step === "plane") {
          const spread = [random.uniform(0.1, 1), random.uniform(4, 8), random.uniform(20, 90)];
          const entry = (i: number, j: number) => spread.reduce((sum, value, k) => sum + value * axis(k)[i]! * axis(k)[j]!, 0);
          const pixels = slot % 4 === 3 ? 1e6 : 1000;
          statistics.set([...mean, 500, 0, 0, 0, 0, entry(0, 0), entry(1, 1), entry(2, 2), pixels], at);
          statistics.set([entry(0, 1), entry(0, 2), entry(1, 2), 0], at + 12);
          result.set(statistics.subarray(at, at + 32), at);
          if (pixels === 1000) result.set([...axis(1), 0, ...axis(2), 0, 0, 0, 0, 1], at + 16);
        } else if (step === "stains") {
          statistics.set([...axis(1), 0, ...axis(2), 0, 0, 0, 0, 1], at + 16);
          result.set(statistics.subarray(at, at + 32), at);
          // Percentiles anywhere on the circle; every fourth pair is too close.
          const low = random.uniform(-3.1, 2.4);
          const high = low + (slot % 4 === 3 ? 0.04 : random.uniform(0.1, 0.6));
          const keyOf = (angle: number) => Math.round((pseudoAngle(Math.sin(angle), Math.cos(angle)) + 2) * 2 ** 22);
          const share = Float32Array.of(0.25);
          const bits = new Uint32Array(share.buffer)[0]!;
          targets.set(
            [keyOf(low), 0, 0, bits, keyOf(low + 0.02), 0, 0, bits, keyOf(high), 0, 0, bits, keyOf(high + 0.02), 0, 0, bits],
            16 * slot,
          );
          const vector = (angle: number) => [0, 1, 2].map((c) => Math.cos(angle) * axis(1)[c]! + Math.sin(angle) * axis(2)[c]!);
          const pair = [vector(low + 0.005), vector(high + 0.005)].sort((a, b) => b[0]! - a[0]!) as [number[], number[]];
          if (slot % 4 === 3) result.set([0, 0, 0, 0], at + 24);
          else {
            const [h, e] = pair;
            const gram = inverted([
              [dot(h, h), dot(h, e)],
              [dot(h, e), dot(e, e)],
            ]);
            const rows = gram.map((row) => [0, 1, 2].map((c) => row[0]! * h[c]! + row[1]! * e[c]!));
            const units = rows.map(
              (row) => KEYS / row.reduce((sum, v) => sum + (v > 0 ? v * Math.log(240) : v * Math.log(240 / 256)), 0),
            );
            result.set([...h, units[0]!, ...e, units[1]!, ...rows[0]!, 1, ...rows[1]!, 0], at + 16);
          }
        } else {
          const units = [random.uniform(1e6, 2e6), random.uniform(1e6, 2e6)];
          statistics.set([0.6, 0.7, 0.3, units[0]!, 0.2, 0.8, 0.5, units[1]!, 1, 0, 0, 1], at + 16);
          result.set(statistics.subarray(at, at + 32), at);
          const most = [random.uniform(0.5, 3), slot % 4 === 3 ? 0.005 : random.uniform(0.5, 3)];
          const half = new Uint32Array(Float32Array.of(0.5).buffer)[0]!;
          const keys = most.map((value, k) => Math.round(value * units[k]!));
          targets.set(
            [keys[0]!, 0, 0, half, keys[0]! + 20, 0, 0, half, keys[1]!, 0, 0, half, keys[1]! + 20, 0, 0, half],
            16 * slot,
          );
          result[at + 19] = (keys[0]! + 10) / statistics[at + 19]!;
          result[at + 23] = (keys[1]! + 10) / statistics[at + 23]!;
          if (slot % 4 === 3) result[at + 27] = 0;
        }
      }
      return { statistics, targets, result };
    });
    const contents = new Contents();
    const statistics = contents.add(() => made().statistics.slice());
    const region = flat(32 * count);
    const isUnit = (at: number) => step === "stains" && (at % 32 === 19 || at % 32 === 23);
    const part = (name: string, wanted: (at: number) => boolean, bound?: number) => ({
      name,
      size: region.cols,
      value: (numbers: ArrayLike<number>, at: number) => (wanted(at) ? numbers[at]! : 0),
      expected: (at: number) => (wanted(at) ? made().result[at]! : 0),
      ...(bound === undefined ? {} : { tolerance: () => ({ bound }) }),
    });
    return {
      call: stainFit(profile, { step, count, targets: contents.add(() => made().targets), statistics }),
      contents,
      outputs: [{ buffer: statistics, kind: "f32", region, adds: true }],
      results: [part("found", (at) => at % 32 >= 16 && !isUnit(at)), part("keys a unit", isUnit)],
      flops: 0,
      shape: `${count}`,
    };
  },
};

interface RecipeCase extends OpCase {
  recipe: keyof typeof STAIN_RECIPES;
}

export const stainRecipeOp: Op<RecipeCase> = {
  name: "stain_recipe",
  cases: [
    { name: "normalise", recipe: "normalise" },
    { name: "augment", recipe: "augment" },
    ...perBatch(({ bench, title }): RecipeCase[] => [{ name: `${title}: recipes`, bench, recipe: "normalise" }]),
  ],
  setup(one, profile) {
    const { recipe } = one;
    const count = 66;
    const made = memo(() => {
      const random = randomOf(one);
      // Behind the contents a style, and one without stains.
      const statistics = random.uniforms(32 * (count + 2), 0.3, 1);
      for (let slot = 0; slot < count + 2; slot++) statistics[32 * slot + 27] = slot === 5 || slot === count + 1 ? 0 : 1;
      const jobs = new Float32Array(32 * count);
      for (let job = 0; job < count; job++) {
        jobs.set([job % 7 === 6 ? -1 : job % 7 === 5 ? count + 1 : count, job % 7 === 6 ? 3 : job % 4, 1, 1], 32 * job);
        jobs.set(random.uniforms(8, 0.3, 1.2), 32 * job + 4);
      }
      const result = Float64Array.from(jobs);
      for (let job = 0; job < count; job++) {
        const at = 32 * job;
        const own = [...statistics.subarray(at + 16, at + 32)];
        const [style, given] = [jobs[at]!, jobs[at + 1]!];
        const lacking = recipe === "normalise" && style === count + 1 && given !== 3;
        if (own[11] === 0 || lacking) {
          result[at + 3] = 0;
          continue;
        }
        const asked = [...jobs.subarray(at + 4, at + 12)];
        const there = style < 0 ? asked : [...statistics.subarray(32 * style + 16, 32 * style + 24)];
        const goal = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => ((k % 4 === 3 ? given >= 2 : given % 2 === 1) ? asked : there)[k]!);
        for (let j = 0; j < 3; j++) {
          const rows = [own.slice(8, 11), own.slice(12, 15)];
          const combined = (factors: Vector) => [0, 1, 2].map((c) => factors[0]! * rows[0]![c]! + factors[1]! * rows[1]![c]!);
          if (recipe === "normalise") {
            const factors = [(goal[3]! / own[3]!) * goal[j]!, (goal[7]! / own[7]!) * goal[4 + j]!];
            result.set([...combined(factors), 0], at + 4 + 4 * j);
          } else {
            const stain = [own[j]!, own[4 + j]!];
            result.set([...combined(stain), 0], at + 4 + 4 * j);
            const changed = combined(stain.map((value, k) => (asked[k]! - 1) * value));
            result.set([...changed, times([stain], asked.slice(2, 4))[0]!], at + 16 + 4 * j);
          }
        }
      }
      return { statistics, jobs, result };
    });
    const contents = new Contents();
    const jobs = contents.add(() => made().jobs.slice());
    const region = flat(32 * count);
    return {
      call: stainRecipe(profile, { recipe, count, statistics: contents.add(() => made().statistics), jobs }),
      contents,
      outputs: [{ buffer: jobs, kind: "f32", region, adds: true }],
      results: [
        {
          name: "recipes",
          size: region.cols,
          value: (numbers, at) => (at % 32 < 3 ? 0 : numbers[at]!),
          expected: (at) => (at % 32 < 3 ? 0 : made().result[at]!),
        },
      ],
      flops: 0,
      shape: `${count}`,
    };
  },
};
