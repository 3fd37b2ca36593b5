import { captionedSheet, type SheetImage, type SheetOptions } from "../image/sheet.js";
import { checkProbabilities, predictions } from "./metrics.js";
import { percent } from "./percent.js";

/** An image that was given another class than it has. */
export interface Mistake {
  /** Which image, counting from 0. */
  index: number;
  truth: number;
  predicted: number;
  /** Of the predicted class. */
  probability: number;
}

/**
 * Images whose most probable class is not their own, the most confident first.
 * @param truth [n]
 * @param probabilities [n · classes], image after image
 * @param most at most so many
 * @throws StylizingError `ARGUMENT` where probabilities do not fit the labels or one is no number.
 */
export function confidentMistakes(
  truth: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classes: number,
  most: number,
): Mistake[] {
  checkProbabilities(truth.length, probabilities, classes);
  return Array.from(predictions(probabilities, classes), (predicted, index) => {
    return { index, truth: truth[index]!, predicted, probability: probabilities[index * classes + predicted]! };
  })
    .filter((one) => one.predicted !== one.truth)
    .sort((a, b) => b.probability - a.probability || a.index - b.index)
    .slice(0, most);
}

export interface MistakesRow extends SheetImage {
  /** Names of classes. */
  truth: string;
  predicted: string;
  /** Of the predicted class, 0 to 1. */
  probability: number;
}

/**
 * A sheet of mistakes as the bytes of a PNG, in the order of the rows: below each image its name, the predicted class with its
 * probability, and the true class, which a line at the foot explains.
 * @throws StylizingError `ARGUMENT` where there is no row or an option is out of range.
 */
export function mistakesSheet(
  rows: readonly MistakesRow[],
  options: Omit<SheetOptions, "layout" | "maxColumns"> = {},
): Promise<Uint8Array> {
  const tiles = rows.map(({ name, image, truth, predicted, probability }) => ({
    source: { name, image },
    lines: [`${percent(probability)} ${predicted}`, `truth: ${truth}`],
  }));
  const legend = "Below each image: its name, the predicted class with its probability, the true class.";
  return captionedSheet(tiles, { ...options, footer: [options.footer, legend].filter(Boolean).join(". ") });
}
