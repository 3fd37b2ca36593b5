import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { classCounts, inverseFrequencyWeights } from "../../src/labels/class-weights.js";
import {
  accuracy,
  balancedAccuracy,
  classAucs,
  classificationMetrics,
  confusionMatrix,
  macroRecall,
  predictions,
  quadraticKappa,
  recalls,
  rocAuc,
} from "../../src/labels/metrics.js";
import { failure } from "../image/helpers.js";
import { shared } from "../support/fixtures.js";

interface Case {
  kind: string;
  classes: number;
  truth: number[];
  prediction: number[];
  scores: number[][];
  quadraticKappa: number | null;
  macroRecall: number;
  balancedAccuracy: number;
  recalls: (number | null)[];
  macroAuc: number | null;
  auc: (number | null)[];
}

/** Undefined results are null in JSON and NaN here. */
const expectClose = (actual: number, expected: number | null) =>
  expected === null || Number.isNaN(expected) ? expect(actual).toBeNaN() : expect(actual).toBeCloseTo(expected, 12);
const expectAllClose = (actual: readonly number[], expected: readonly (number | null)[]) => {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of actual.entries()) expectClose(value, expected[i]!);
};

/** Probabilities whose most probable class is the one that is named. */
const certain = (predicted: readonly number[], classes: number) =>
  predicted.flatMap((label) => Array.from({ length: classes }, (_, c) => (c === label ? 1 : 0)));

const golden = join(shared, "golden/metrics/cases.json");
describe.skipIf(!existsSync(golden))("golden cases", () => {
  const cases = existsSync(golden) ? (JSON.parse(readFileSync(golden, "utf8")) as { labels: Case[] }).labels : [];

  it("are there, with classes that are missing and with two classes", () => {
    expect(cases.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["mixed", "predicted only", "one class"]));
    expect(cases.map(({ classes }) => classes)).toContain(2);
  });

  it.each(cases.map((one, i) => [`${i}, ${one.kind}, ${one.classes} classes`, one] as const))("case %s", (_, one) => {
    const { classes, truth, prediction } = one;
    const matrix = confusionMatrix(truth, prediction, classes);
    expectClose(quadraticKappa(matrix), one.quadraticKappa);
    expectClose(macroRecall(matrix), one.macroRecall);
    expectClose(balancedAccuracy(matrix), one.balancedAccuracy);
    expectAllClose(recalls(matrix), one.recalls);
    expect(accuracy(matrix)).toBeCloseTo(truth.filter((label, i) => label === prediction[i]).length / truth.length, 12);

    const scores = one.scores.flat();
    expectAllClose(classAucs(truth, scores, classes), one.auc);
    // Ties and all: with two classes the second one's area is the macro mean.
    expectClose(classificationMetrics(truth, scores, classes).auc, one.macroAuc);
    const decided = classificationMetrics(truth, certain(prediction, classes), classes);
    expectClose(decided.kappa, one.quadraticKappa);
    expectClose(decided.macroRecall, one.macroRecall);
    expectClose(decided.balancedAccuracy, one.balancedAccuracy);
    expect(decided.accuracy).toBe(accuracy(matrix));
  });
});

/** Labels, predictions and scores with many ties. */
const answers = fc.integer({ min: 2, max: 5 }).chain((classes) =>
  fc
    .array(fc.tuple(fc.nat(classes - 1), fc.nat(classes - 1), fc.array(fc.nat(4), { minLength: classes, maxLength: classes })), {
      minLength: 1,
      maxLength: 30,
    })
    .map((rows) => ({
      classes,
      truth: rows.map(([truth]) => truth),
      predicted: rows.map(([, predicted]) => predicted),
      scores: rows.flatMap(([, , scores]) => scores.map((score) => score / 4)),
    })),
);

describe("rocAuc", () => {
  /** The definition: over all pairs of a positive and a negative. */
  function pairwise(positive: readonly boolean[], scores: readonly number[]): number {
    let [above, pairs] = [0, 0];
    for (const [i, one] of positive.entries()) {
      for (const [j, other] of positive.entries()) {
        if (!one || other) continue;
        pairs++;
        above += scores[i]! > scores[j]! ? 1 : scores[i] === scores[j] ? 0.5 : 0;
      }
    }
    return pairs > 0 ? above / pairs : Number.NaN;
  }

  it("is the share of pairs in which the positive scores higher, ties half", () => {
    expect(rocAuc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])).toBe(0.75);
    expect(rocAuc([true, false], [0.5, 0.5])).toBe(0.5);
    expect(rocAuc([true, true, false, false], [3, 2, 2, 1])).toBe(0.875);
    expect(rocAuc([true, true], [1, 2])).toBeNaN();
    expect(rocAuc([false, false], [1, 2])).toBeNaN();
    const rows = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: -3, max: 3 })), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(rows, (list) => {
        const positive = list.map(([one]) => one);
        const scores = list.map(([, score]) => score);
        expectClose(rocAuc(positive, scores), pairwise(positive, scores));
      }),
    );
  });

  it("does not change with a monotone map of the scores, and turns over with their sign", () => {
    fc.assert(
      fc.property(answers, ({ classes, truth, scores }) => {
        const areas = classAucs(truth, scores, classes);
        expect(
          classAucs(
            truth,
            Float64Array.from(scores, (score) => Math.exp(3 * score) - 7),
            classes,
          ),
        ).toEqual(areas);
        const negated = scores.map((score) => -score);
        expectAllClose(
          classAucs(truth, negated, classes),
          areas.map((area) => 1 - area),
        );
      }),
    );
  });
});

/** Renames the classes. */
const renamed = (labels: readonly number[], names: readonly number[]) => labels.map((label) => names[label]!);

describe("metrics of a confusion matrix", () => {
  it("count rows as truth and columns as predictions", () => {
    expect(confusionMatrix([0, 0, 1, 2], [1, 0, 1, 0], 3)).toEqual([
      [1, 1, 0],
      [0, 1, 0],
      [1, 0, 0],
    ]);
  });

  it("weight classes and not images where they are balanced", () => {
    // 90 of class 0, all right; 10 of class 1, none right.
    const matrix = [
      [90, 0],
      [10, 0],
    ];
    expect(accuracy(matrix)).toBe(0.9);
    expect(balancedAccuracy(matrix)).toBe(0.5);
    expect(macroRecall(matrix)).toBe(0.5);
    expect(quadraticKappa(matrix)).toBe(0);
  });

  it("leave out a class without images; macro recall counts it 0 where it was predicted", () => {
    const predictedOnly = confusionMatrix([0, 0, 1, 1], [0, 2, 1, 1], 4);
    expect(recalls(predictedOnly)).toEqual([0.5, 1, Number.NaN, Number.NaN]);
    expect(balancedAccuracy(predictedOnly)).toBe(0.75);
    expect(macroRecall(predictedOnly)).toBe(0.5);
  });

  it("kappa: by the square of the distance between grades", () => {
    // One of four wrong by two grades: Σ w·O = 4; Σ w·E from margins [2, 1, 1] and [1, 1, 2].
    const matrix = confusionMatrix([0, 0, 1, 2], [0, 2, 1, 2], 3);
    const expected = (2 * (0 + 1 + 8) + 1 * (1 + 0 + 2) + 1 * (4 + 1 + 0)) / 4;
    expect(quadraticKappa(matrix)).toBeCloseTo(1 - 4 / expected, 12);
    expect(quadraticKappa(confusionMatrix([1, 1], [1, 1], 3))).toBeNaN();
    expect(quadraticKappa(confusionMatrix([1, 1], [2, 2], 3))).toBe(0);
    expect(quadraticKappa(confusionMatrix([0, 1, 2], [0, 1, 2], 3))).toBe(1);
  });

  it("hold for any answers: names of classes, order and repetition of images", () => {
    fc.assert(
      fc.property(answers, fc.nat(), ({ classes, truth, predicted }, turn) => {
        const matrix = confusionMatrix(truth, predicted, classes);
        expect(matrix.flat().reduce((a, b) => a + b)).toBe(truth.length);
        const names = Array.from({ length: classes }, (_, c) => (c + turn) % classes);
        const other = confusionMatrix(renamed(truth, names), renamed(predicted, names), classes);
        for (const metric of [accuracy, balancedAccuracy, macroRecall]) expect(metric(other)).toBeCloseTo(metric(matrix), 12);
        for (const [c, recall] of recalls(matrix).entries()) expect(recalls(other)[names[c]!]).toBe(recall);
        // Kappa knows distances only: the scale may be read from its other end, and truth and predictions swapped.
        const ends = Array.from({ length: classes }, (_, c) => classes - 1 - c);
        const kappa = quadraticKappa(matrix);
        expectClose(quadraticKappa(confusionMatrix(renamed(truth, ends), renamed(predicted, ends), classes)), kappa);
        expectClose(quadraticKappa(confusionMatrix(predicted, truth, classes)), kappa);
        expectClose(quadraticKappa(confusionMatrix([...truth, ...truth], [...predicted, ...predicted], classes)), kappa);
        // More images of a class in the same proportions: balanced metrics do not see them.
        const again = (labels: readonly number[]) => [...labels, ...labels.filter((_, i) => truth[i] === truth[0])];
        const heavier = confusionMatrix(again(truth), again(predicted), classes);
        expect(balancedAccuracy(heavier)).toBeCloseTo(balancedAccuracy(matrix), 12);
        expect(macroRecall(heavier)).toBeCloseTo(macroRecall(matrix), 12);
      }),
    );
  });
});

describe("classificationMetrics", () => {
  it("predicts the most probable class, the first of several", () => {
    expect([...predictions([0.2, 0.5, 0.3, 0.4, 0.2, 0.4, 0, 0, 1], 3)]).toEqual([1, 0, 2]);
    expect(classificationMetrics([1, 0, 2], [0.2, 0.5, 0.3, 0.4, 0.2, 0.4, 0, 0, 1], 3)).toEqual({
      accuracy: 1,
      balancedAccuracy: 1,
      macroRecall: 1,
      kappa: 1,
      auc: (1 + 1 + 1) / 3,
    });
  });

  it("takes the second class's probability where there are two, and the mean of those that are defined where there are more", () => {
    // Rounding has made ties of the first class's probabilities.
    expect(classificationMetrics([0, 1], [1, 1e-9, 1, 1e-8], 2).auc).toBe(1);
    expect(classificationMetrics([0, 1, 1], Float32Array.of(0.5, 0.3, 0.2, 0.6, 0.3, 0.1, 0.1, 0.8, 0.1), 3).auc).toBe(
      (0.5 + 0.75) / 2,
    );
    expect(classificationMetrics([1, 1], [0.5, 0.5, 0.2, 0.8], 2).auc).toBeNaN();
    expect(classificationMetrics([1, 1], [0.5, 0.5, 0, 0.2, 0.8, 0], 3).auc).toBeNaN();
  });

  it("refuses what does not fit together", async () => {
    const metrics = async (...given: Parameters<typeof classificationMetrics>) => classificationMetrics(...given);
    await failure(metrics([], [], 2), "ARGUMENT");
    expect((await failure(metrics([0], [1, 0, 0], 2), "ARGUMENT")).message).toMatch(/1 images of 2 classes have 3/);
    expect((await failure(metrics([0, 2], [1, 0, 0, 1], 2), "ARGUMENT")).message).toMatch(/image 1 is 2/);
    await failure(metrics([0.5], [1, 0], 2), "ARGUMENT");
    await failure(metrics([-1], [1, 0], 2), "ARGUMENT");
    const overflow = await failure(metrics([0, 1], [1, 0, 0, Number.NaN], 2), "ARGUMENT");
    expect(overflow.message).toMatch(/class 1 for image 1 is NaN/);
    await failure((async () => confusionMatrix([0, 1], [0], 2))(), "ARGUMENT");
    await failure((async () => confusionMatrix([0, 1], [0, 2], 2))(), "ARGUMENT");
  });
});

describe("inverseFrequencyWeights", () => {
  it("gives every class the same sum of weights, n / K", () => {
    expect(classCounts([{ label: 2 }, { label: 0 }, { label: 2 }], 3)).toEqual([1, 0, 2]);
    expect(inverseFrequencyWeights([1, 3])).toEqual([2, 4 / 6]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1e6 }), { minLength: 1, maxLength: 9 }), (counts) => {
        const share = counts.reduce((a, b) => a + b) / counts.length;
        for (const [c, weight] of inverseFrequencyWeights(counts).entries()) expect(weight * counts[c]!).toBeCloseTo(share, 6);
      }),
    );
  });

  it("refuses an empty class", async () => {
    expect((await failure((async () => inverseFrequencyWeights([3, 0]))(), "ARGUMENT")).message).toMatch(/Class 1 has no image/);
    await failure((async () => inverseFrequencyWeights([]))(), "ARGUMENT");
  });
});
