import { COEFFICIENT, fourierApply, fourierBack, fourierColumns, fourierRows, fourierSwap } from "../../src/ops/fourier.js";
import { Contents, flat, memo, type Op, randomOf, sentinels } from "../support/op.js";
import { perBatch } from "./published.js";
import { benchSizes, type ImagesCase, levelsOf, resultBytes, SIZES, sceneOf } from "./restyle.scene.js";

/** Every image at the band that its shorter side allows is the rule; here all of a case have one, which some are too narrow for. */
interface FourierCase extends ImagesCase {
  band: number;
}

const SIDES: ImagesCase["sizes"] = [
  [12, 9],
  [37, 11],
  [9, 40],
];

const cases: readonly FourierCase[] = [
  { name: "one pixel", sizes: SIZES.one, band: 0 },
  { name: "means alone", sizes: SIDES, band: 0 },
  { name: "a narrow band", sizes: SIDES, band: 2 },
  { name: "the widest band", sizes: SIDES, band: 4 },
  { name: "grey", sizes: SIDES, channels: 1, band: 3 },
  ...perBatch(({ bench, title, batch }): FourierCase[] => [
    { name: `${title}: a band`, bench, sizes: benchSizes(batch), band: 11 },
  ]),
];

/** Numbers of a coefficient's parts: real, imaginary. */
type Complex = readonly [number, number];
const turn = ([re, im]: Complex, angle: number): Complex => [
  re * Math.cos(angle) - im * Math.sin(angle),
  re * Math.sin(angle) + im * Math.cos(angle),
];
const sum = (terms: readonly Complex[]): Complex => [
  terms.reduce((total, [re]) => total + re, 0),
  terms.reduce((total, [, im]) => total + im, 0),
];
const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

/** Coefficients in a buffer: eight numbers each, of which the fourth and the eighth are 0. */
class Coefficients {
  readonly numbers: Float64Array;

  constructor(count: number) {
    this.numbers = new Float64Array(COEFFICIENT * count);
  }

  static random(count: number, seed: FourierCase, scale = 1): Coefficients {
    const random = randomOf(seed);
    const made = new Coefficients(count);
    for (const at of made.numbers.keys()) if (at % 4 !== 3) made.numbers[at] = Math.fround(random.uniform(-scale, scale));
    return made;
  }

  get(at: number, c: number): Complex {
    return [this.numbers[8 * at + c]!, this.numbers[8 * at + 4 + c]!];
  }

  set(at: number, c: number, [re, im]: Complex): void {
    this.numbers[8 * at + c] = re;
    this.numbers[8 * at + 4 + c] = im;
  }

  asFloats(): Float32Array {
    return Float32Array.from(this.numbers);
  }
}

/** What all kernels of a case share. */
function fourierScene(one: FourierCase) {
  const { band, sizes } = one;
  const scene = sceneOf(one);
  const { batch } = scene;
  const places = sizes.map(([width, height], slot) => ({
    ...{ width, height },
    rows: batch.images[12 * slot + 8]!,
    all: batch.images[12 * slot + 9]!,
  }));
  const across = band + 1;
  return {
    scene,
    batch,
    places,
    across,
    down: 2 * band + 1,
    rows: batch.room.rows,
    all: batch.room.coefficients,
    each: batch.room.each,
  };
}

/** Everything of an output that images do not fill stays. */
function outputOf(contents: Contents, count: number, filled: readonly { first: number; count: number }[]) {
  const region = flat(COEFFICIENT * count);
  const buffer = contents.add(() => sentinels(region));
  const stays = (at: number) => !filled.some(({ first, count: own }) => at >= 8 * first && at < 8 * (first + own));
  return { buffer, output: { buffer, kind: "f32" as const, region, stays } };
}

const resultOf = (expected: () => Coefficients, count: number, stays: (at: number) => boolean) => ({
  size: COEFFICIENT * count,
  value: (numbers: ArrayLike<number>, at: number) => (stays(at) ? 0 : numbers[at]!),
  expected: (at: number) => (stays(at) ? 0 : expected().numbers[at]!),
});

export const fourierRowsOp: Op<FourierCase> = {
  name: "fourier_rows",
  cases,
  setup(one, profile) {
    const { channels = 3 } = one;
    const { scene, batch, places, across, rows, each } = fourierScene(one);
    const contents = new Contents();
    const means = memo(() => places.map((_, slot) => [0.3, 0.4, 0.5].map((value) => Math.fround(value + 0.01 * slot))));
    const { buffer, output } = outputOf(
      contents,
      rows,
      places.map((place) => ({ first: place.rows, count: place.height * across })),
    );
    const expected = memo(() => {
      const made = new Coefficients(rows);
      for (const [slot, { width, height, rows: first }] of places.entries())
        for (let at = 0; at < height * across; at++)
          for (let c = 0; c < 3; c++) {
            const [y, k] = [Math.floor(at / across), at % across];
            const terms = range(width).map((x) => {
              const value = levelsOf(scene.images()[slot]!, y * width + x)[c]! / 255 - means()[slot]![c]!;
              return turn([value, 0], (-2 * Math.PI * k * x) / width);
            });
            made.set(first + at, c, sum(terms));
          }
      return made;
    });
    return {
      call: fourierRows(profile, {
        ...{ channels, count: one.sizes.length, each, rows: buffer },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        statistics: contents.add(() =>
          Float32Array.from({ length: 32 * places.length }, (_, at) =>
            at % 32 < 3 ? means()[Math.floor(at / 32)]![at % 32]! : 0,
          ),
        ),
        twiddles: contents.add(() => batch.twiddles),
      }),
      contents,
      outputs: [output],
      results: [resultOf(expected, rows, output.stays)],
      flops: 0,
      shape: `${each}`,
    };
  },
};

export const fourierColumnsOp: Op<FourierCase> = {
  name: "fourier_columns",
  cases,
  setup(one, profile) {
    const { band } = one;
    const { batch, places, across, down, rows, all, each } = fourierScene(one);
    const contents = new Contents();
    const input = memo(() => Coefficients.random(rows, one));
    const { buffer, output } = outputOf(
      contents,
      all,
      places.map((place) => ({ first: place.all, count: down * across })),
    );
    const expected = memo(() => {
      const made = new Coefficients(all);
      for (const { height, rows: from, all: first } of places)
        for (let at = 0; at < down * across; at++)
          for (let c = 0; c < 3; c++) {
            const [k, column] = [Math.floor(at / across) - band, at % across];
            const terms = range(height).map((y) =>
              turn(input().get(from + y * across + column, c), (-2 * Math.PI * k * y) / height),
            );
            made.set(first + at, c, sum(terms));
          }
      return made;
    });
    return {
      call: fourierColumns(profile, {
        ...{ count: one.sizes.length, each, coefficients: buffer },
        images: contents.add(() => batch.images),
        rows: contents.add(() => input().asFloats()),
        twiddles: contents.add(() => batch.twiddles),
      }),
      contents,
      outputs: [output],
      results: [resultOf(expected, all, output.stays)],
      flops: 0,
      shape: `${each}`,
    };
  },
};

export const fourierSwapOp: Op<FourierCase> = {
  name: "fourier_swap",
  cases,
  setup(one, profile) {
    const { band } = one;
    const { batch, places, across, down, all, each } = fourierScene(one);
    const contents = new Contents();
    const input = memo(() => {
      const made = Coefficients.random(all, one, 9);
      // One that is all but nothing.
      if (band > 0) for (let c = 0; c < 3; c++) made.set(places[0]!.all + 1, c, [1e-6, -1e-6]);
      return made;
    });
    const mean = (slot: number, c: number) => Math.fround(0.2 + 0.1 * slot + 0.05 * c);
    const { buffer, output } = outputOf(
      contents,
      all,
      places.map((place) => ({ first: place.all, count: down * across })),
    );
    const styleOf = (slot: number) => (slot + 1) % places.length;
    const expected = memo(() => {
      const made = new Coefficients(all);
      for (const [slot, { width, height, all: first }] of places.entries())
        for (let at = 0; at < down * across; at++)
          for (let c = 0; c < 3; c++) {
            const count = width * height;
            const added = (of: number) => (at === band * across ? count * mean(of, c) : 0);
            const own = sum([input().get(first + at, c), [added(slot), 0]]);
            const other = sum([input().get(places[styleOf(slot)]!.all + at, c), [added(styleOf(slot)), 0]]);
            const [mine, theirs] = [Math.hypot(...own), Math.hypot(...other)];
            const gain = mine > 1e-6 * count ? theirs / mine - 1 : 0;
            made.set(first + at, c, [gain * own[0], gain * own[1]]);
          }
      return made;
    });
    return {
      call: fourierSwap(profile, {
        ...{ count: one.sizes.length, each, changes: buffer },
        images: contents.add(() => batch.images),
        jobs: contents.add(() =>
          Float32Array.from({ length: 32 * places.length }, (_, at) => (at % 32 === 0 ? styleOf(at / 32) : 0)),
        ),
        statistics: contents.add(() =>
          Float32Array.from({ length: 32 * places.length }, (_, at) => (at % 32 < 3 ? mean(Math.floor(at / 32), at % 32) : 0)),
        ),
        coefficients: contents.add(() => input().asFloats()),
      }),
      contents,
      outputs: [output],
      results: [resultOf(expected, all, output.stays)],
      flops: 0,
      shape: `${each}`,
    };
  },
};

export const fourierBackOp: Op<FourierCase> = {
  name: "fourier_back",
  cases,
  setup(one, profile) {
    const { band } = one;
    const { batch, places, across, down, rows, all, each } = fourierScene(one);
    const contents = new Contents();
    const input = memo(() => Coefficients.random(all, one));
    const { buffer, output } = outputOf(
      contents,
      rows,
      places.map((place) => ({ first: place.rows, count: place.height * across })),
    );
    const expected = memo(() => {
      const made = new Coefficients(rows);
      for (const { height, rows: first, all: from } of places)
        for (let at = 0; at < height * across; at++)
          for (let c = 0; c < 3; c++) {
            const [y, column] = [Math.floor(at / across), at % across];
            const terms = range(down).map((k) =>
              turn(input().get(from + k * across + column, c), (2 * Math.PI * (k - band) * y) / height),
            );
            made.set(first + at, c, sum(terms));
          }
      return made;
    });
    return {
      call: fourierBack(profile, {
        ...{ count: one.sizes.length, each, rows: buffer },
        images: contents.add(() => batch.images),
        changes: contents.add(() => input().asFloats()),
        twiddles: contents.add(() => batch.twiddles),
      }),
      contents,
      outputs: [output],
      results: [resultOf(expected, rows, output.stays)],
      flops: 0,
      shape: `${each}`,
    };
  },
};

export const fourierApplyOp: Op<FourierCase> = {
  name: "fourier_apply",
  cases,
  setup(one, profile) {
    const { channels = 3 } = one;
    const { scene, batch, places, across, rows } = fourierScene(one);
    const contents = new Contents();
    const input = memo(() => Coefficients.random(rows, one, 10));
    const region = flat(batch.resultWords);
    const result = contents.add(() => sentinels(region));
    const bytes = memo(() =>
      resultBytes(scene, (slot, pixel) => {
        const { width, height, rows: first } = places[slot]!;
        const [y, x] = [Math.floor(pixel / width), pixel % width];
        return levelsOf(scene.images()[slot]!, pixel).map((level, c) => {
          const terms = range(across).map((k) => {
            const [re] = turn(input().get(first + y * across + k, c), (2 * Math.PI * k * x) / width);
            return (k === 0 ? 1 : 2) * re;
          });
          return level / 255 + terms.reduce((total, term) => total + term, 0) / (width * height);
        });
      }),
    );
    return {
      call: fourierApply(profile, {
        ...{ channels, count: one.sizes.length, words: batch.room.words, background: undefined, result },
        content: contents.add(scene.content),
        images: contents.add(() => batch.images),
        jobs: contents.add(() => batch.jobs),
        rows: contents.add(() => input().asFloats()),
        twiddles: contents.add(() => batch.twiddles),
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
