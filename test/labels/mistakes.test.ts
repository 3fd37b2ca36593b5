import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { confidentMistakes, mistakesSheet } from "../../src/labels/mistakes.js";
import { failure, noise } from "../image/helpers.js";

describe("confidentMistakes", () => {
  it("are images with another class than their own, the most confident first", () => {
    const probabilities = [0.6, 0.3, 0.1, 0.1, 0.8, 0.1, 0.2, 0.1, 0.7, 0.1, 0.1, 0.8];
    expect(confidentMistakes([1, 1, 0, 0], probabilities, 3, 9)).toEqual([
      { index: 3, truth: 0, predicted: 2, probability: 0.8 },
      { index: 2, truth: 0, predicted: 2, probability: 0.7 },
      { index: 0, truth: 1, predicted: 0, probability: 0.6 },
    ]);
    expect(confidentMistakes([1, 1, 0, 0], probabilities, 3, 1).map(({ index }) => index)).toEqual([3]);
    expect(confidentMistakes([0, 1], [1, 0, 0, 1], 2, 9)).toEqual([]);
    // The first of those that are equally confident.
    expect(confidentMistakes([1, 1, 1], [1, 0, 1, 0, 1, 0], 2, 2).map(({ index }) => index)).toEqual([0, 1]);
  });

  it("are all that are wrong, in order", () => {
    const rows = fc.array(fc.tuple(fc.nat(2), fc.nat(5), fc.nat(5), fc.nat(5)), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(rows, (list) => {
        const truth = list.map(([label]) => label);
        const probabilities = list.flatMap(([, ...three]) => three);
        const all = confidentMistakes(truth, probabilities, 3, 99);
        const wrong = list.filter(([label, ...three]) => three.indexOf(Math.max(...three)) !== label);
        expect(all).toHaveLength(wrong.length);
        for (const [i, one] of all.entries()) {
          expect(one.probability).toBe(Math.max(...list[one.index]!.slice(1)));
          if (i > 0) expect(one.probability).toBeLessThanOrEqual(all[i - 1]!.probability);
        }
      }),
    );
  });

  it("refuse probabilities that do not fit", async () => {
    await failure((async () => confidentMistakes([0, 1], [1, 0, 1], 2, 9))(), "ARGUMENT");
    await failure((async () => confidentMistakes([0], [1, Number.NaN], 2, 9))(), "ARGUMENT");
  });
});

describe("mistakesSheet", () => {
  const row = (i: number) => ({
    name: `folder/image_${i}.png`,
    image: noise(40, 30, 3, i + 1),
    truth: "benign",
    predicted: "malignant",
    probability: 0.99 - i / 100,
  });

  it("is a PNG with a tile for each, and text that depends on every field", async () => {
    const rows = Array.from({ length: 4 }, (_, i) => row(i));
    const png = await mistakesSheet(rows, { title: "validation", footer: "4 of 9." });
    expect(await sharp(png).metadata()).toMatchObject({ format: "png", width: 48 + 3 * 176 + 2 * 16 });
    const changes = [{ name: "other" }, { truth: "other" }, { predicted: "other" }, { probability: 0.5 }];
    for (const change of changes) {
      const other = await mistakesSheet([{ ...rows[0]!, ...change }, ...rows.slice(1)], {
        title: "validation",
        footer: "4 of 9.",
      });
      expect(Buffer.compare(other, png)).not.toBe(0);
    }
    // What is nearly certain is not called certain.
    const nearly = await mistakesSheet([{ ...row(0), probability: 0.99999 }]);
    expect(Buffer.compare(nearly, await mistakesSheet([{ ...row(0), probability: 1 }]))).not.toBe(0);
    expect(Buffer.compare(nearly, await mistakesSheet([{ ...row(0), probability: 0.999 }]))).toBe(0);
  });

  it("refuses no rows", async () => {
    await failure(mistakesSheet([]), "ARGUMENT");
  });
});
