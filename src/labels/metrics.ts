import { StylizingError } from "../errors.js";

/**
 * How good a classifier's answers are. Labels are whole numbers below `classes`; a confusion matrix has a row for each true class and
 * a column for each predicted one. What is undefined (a recall of a class that does not occur, an area with one class only) is NaN.
 */

/** Metrics by the names that they have in the log; NaN where one is undefined. */
export interface ClassificationMetrics {
  accuracy: number;
  balancedAccuracy: number;
  macroRecall: number;
  kappa: number;
  auc: number;
}

function checkLabels(labels: ArrayLike<number>, classes: number, what: string): void {
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (Number.isInteger(label) && label >= 0 && label < classes) continue;
    const fix = `Give whole numbers from 0 to ${classes - 1}.`;
    throw new StylizingError("ARGUMENT", `The ${what} of image ${i} is ${label}, of ${classes} classes.`, fix);
  }
}

/**
 * Counts of images by true class (rows) and predicted class (columns).
 * @param truth [n]
 * @param predicted [n]
 * @returns [classes][classes]
 * @throws StylizingError `ARGUMENT` where there is no image, lengths differ, or a label is no class.
 */
export function confusionMatrix(truth: ArrayLike<number>, predicted: ArrayLike<number>, classes: number): number[][] {
  if (truth.length === 0 || truth.length !== predicted.length) {
    const problem = `There are ${truth.length} true labels and ${predicted.length} predictions.`;
    throw new StylizingError("ARGUMENT", problem, "Give one of each for every image, and at least one image.");
  }
  checkLabels(truth, classes, "true label");
  checkLabels(predicted, classes, "prediction");
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let i = 0; i < truth.length; i++) matrix[truth[i]!]![predicted[i]!]!++;
  return matrix;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const mean = (values: readonly number[]): number => (values.length > 0 ? sum(values) / values.length : Number.NaN);
const rowSums = (matrix: readonly (readonly number[])[]): number[] => matrix.map(sum);
const columnSums = (matrix: readonly (readonly number[])[]): number[] => matrix.map((_, j) => sum(matrix.map((row) => row[j]!)));

/** The share of images whose class was predicted, of a confusion matrix. */
export function accuracy(matrix: readonly (readonly number[])[]): number {
  return sum(matrix.map((row, i) => row[i]!)) / sum(rowSums(matrix));
}

/** Of each class the share of its images that were predicted so; NaN for a class without images. */
export function recalls(matrix: readonly (readonly number[])[]): number[] {
  return rowSums(matrix).map((count, i) => (count > 0 ? matrix[i]![i]! / count : Number.NaN));
}

/** The mean recall of the classes that have images, as scikit-learn's `balanced_accuracy_score`. */
export function balancedAccuracy(matrix: readonly (readonly number[])[]): number {
  return mean(recalls(matrix).filter((recall) => !Number.isNaN(recall)));
}

/**
 * The mean recall of the classes that have images or were predicted, as scikit-learn's `recall_score(average="macro")`: one that was
 * only predicted counts 0.
 */
export function macroRecall(matrix: readonly (readonly number[])[]): number {
  const columns = columnSums(matrix);
  const values = recalls(matrix).flatMap((recall, i) => (!Number.isNaN(recall) ? [recall] : columns[i]! > 0 ? [0] : []));
  return mean(values);
}

/**
 * Cohen's kappa with quadratic weights (Cohen 1968), for classes that are grades: 1 − Σ w·O / Σ w·E, w = (i − j)², O the confusion
 * matrix and E what its margins give by chance. NaN where truth and predictions are all of one class.
 */
export function quadraticKappa(matrix: readonly (readonly number[])[]): number {
  const rows = rowSums(matrix);
  const columns = columnSums(matrix);
  const count = sum(rows);
  let observed = 0;
  let expected = 0;
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < rows.length; j++) {
      const weight = (i - j) ** 2;
      observed += weight * matrix[i]![j]!;
      expected += (weight * rows[i]! * columns[j]!) / count;
    }
  }
  return expected > 0 ? 1 - observed / expected : Number.NaN;
}

/**
 * The area under the ROC curve: how often a positive scores above a negative, ties count half (Mann and Whitney 1947, by mid-ranks).
 * NaN where there are no positives or no negatives.
 * @param positive [n], 0 or false for negatives
 * @param scores [n], no NaN
 */
export function rocAuc(positive: ArrayLike<unknown>, scores: ArrayLike<number>): number {
  const order = Array.from(scores, (_, i) => i).sort((a, b) => scores[a]! - scores[b]!);
  let positives = 0;
  let ranks = 0;
  for (let first = 0, end = 0; first < order.length; first = end) {
    while (end < order.length && scores[order[end]!] === scores[order[first]!]) end++;
    // Ranks count from 1; all of a tie have the middle one.
    const rank = (first + 1 + end) / 2;
    for (let k = first; k < end; k++) {
      if (!positive[order[k]!]) continue;
      positives++;
      ranks += rank;
    }
  }
  return (ranks - (positives * (positives + 1)) / 2) / (positives * (order.length - positives));
}

/**
 * Of each class the area under the ROC curve of its probability, against all other classes together.
 * @param truth [n]
 * @param probabilities [n · classes], image after image
 * @returns [classes], NaN for a class that no image or every image has.
 */
export function classAucs(truth: ArrayLike<number>, probabilities: ArrayLike<number>, classes: number): number[] {
  return Array.from({ length: classes }, (_, c) =>
    rocAuc(
      Array.from(truth, (label) => label === c),
      Array.from(truth, (_, i) => probabilities[i * classes + c]!),
    ),
  );
}

/**
 * With two classes the area of the second one's probability, which is the first one's too where the two add up to 1. With more the
 * mean over the classes that have one (one against the rest, macro). NaN where none has.
 */
function overallAuc(areas: readonly number[]): number {
  return areas.length === 2 ? areas[1]! : mean(areas.filter((area) => !Number.isNaN(area)));
}

/**
 * The most probable class of each image, the first of several.
 * @param probabilities [n · classes], image after image
 */
export function predictions(probabilities: ArrayLike<number>, classes: number): Uint32Array {
  return Uint32Array.from({ length: probabilities.length / classes }, (_, i) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (probabilities[i * classes + c]! > probabilities[i * classes + best]!) best = c;
    return best;
  });
}

/** @throws StylizingError `ARGUMENT` where probabilities are not [n · classes] numbers. */
export function checkProbabilities(images: number, probabilities: ArrayLike<number>, classes: number): void {
  if (probabilities.length !== images * classes) {
    const problem = `${images} images of ${classes} classes have ${probabilities.length} probabilities.`;
    throw new StylizingError("ARGUMENT", problem, `Give ${images * classes}, those of one image after those of another.`);
  }
  for (let i = 0; i < probabilities.length; i++) {
    if (Number.isFinite(probabilities[i])) continue;
    const problem = `The probability of class ${i % classes} for image ${Math.floor(i / classes)} is ${probabilities[i]}.`;
    throw new StylizingError("ARGUMENT", problem, "Look for the layer whose numbers overflow, or lower the learning rate.");
  }
}

/**
 * All metrics of probabilities, or of any scores that grow with them.
 * @param truth [n]
 * @param probabilities [n · classes], image after image
 * @throws StylizingError `ARGUMENT` where there is no image, shapes do not fit, a label is no class or a probability no number.
 */
export function classificationMetrics(
  truth: ArrayLike<number>,
  probabilities: ArrayLike<number>,
  classes: number,
): ClassificationMetrics {
  checkProbabilities(truth.length, probabilities, classes);
  const matrix = confusionMatrix(truth, predictions(probabilities, classes), classes);
  return {
    accuracy: accuracy(matrix),
    balancedAccuracy: balancedAccuracy(matrix),
    macroRecall: macroRecall(matrix),
    kappa: quadraticKappa(matrix),
    auc: overallAuc(classAucs(truth, probabilities, classes)),
  };
}
