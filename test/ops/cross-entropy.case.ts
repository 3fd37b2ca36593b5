import { pick } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { crossEntropy } from "../../src/ops/classification.js";
import { FLOAT16_UNIT, isFloat16, UNIT } from "../support/elements.js";
import { Contents, inUnits, memo, type Op, type OpCase, randomOf, rowAndColumn } from "../support/op.js";
import { perBatch } from "./published.js";

export interface CrossEntropyCase extends OpCase {
  rows: number;
  classes: number;
  smoothing?: number;
  /** Whether classes have weights other than 1. */
  weighted?: boolean;
  /** Of the labels, all of which are anywhere where it is left out. */
  labels?: "first" | "last";
  /** `equal`: all logits of a row alike. `huge`: some rows all near -10⁴, some near 10⁴, some either. `sure`: the label's is 30 above others. `last`: the last is 10⁴. */
  data?: "normal" | "equal" | "huge" | "sure" | "last";
  lossScale?: number;
  logitsOffset?: number;
  logitsGap?: number;
  partialsOffset?: number;
  gradientOffset?: number;
  gradientGap?: number;
  /** Columns of the gradient behind the padded classes. */
  wider?: number;
}

export const crossEntropyCases: readonly CrossEntropyCase[] = [
  { name: "one class", rows: 3, classes: 1 },
  { name: "two classes", rows: 1, classes: 2 },
  { name: "two classes, smoothed", rows: 5, classes: 2, smoothing: 0.1 },
  { name: "three classes, weighted", rows: 7, classes: 3, weighted: true },
  { name: "three classes, weighted and smoothed", rows: 7, classes: 3, weighted: true, smoothing: 0.3, lossScale: 1024 },
  { name: "nothing but smoothing", rows: 6, classes: 9, weighted: true, smoothing: 1 },
  { name: "five classes, rows past a workgroup", rows: 4 * 16 + 1, classes: 5, smoothing: 0.1 },
  { name: "whole vectors", rows: 9, classes: 8, weighted: true },
  { name: "labels of the first class", rows: 5, classes: 10, labels: "first", weighted: true },
  { name: "labels of the last class", rows: 5, classes: 10, labels: "last", weighted: true },
  { name: "equal logits", rows: 5, classes: 37, data: "equal", smoothing: 0.1 },
  { name: "logits of ±10⁴", rows: 12, classes: 7, data: "huge" },
  { name: "logits of ±10⁴, weighted and smoothed", rows: 12, classes: 77, data: "huge", weighted: true, smoothing: 0.1 },
  { name: "a last logit of 10⁴", rows: 5, classes: 301, data: "last", smoothing: 0.1 },
  { name: "labels that are sure", rows: 9, classes: 13, data: "sure", weighted: true },
  {
    name: "offsets and gaps",
    rows: 19,
    classes: 29,
    weighted: true,
    smoothing: 0.2,
    lossScale: 64,
    logitsOffset: 24,
    logitsGap: 12,
    partialsOffset: 12,
    gradientOffset: 40,
    gradientGap: 16,
    wider: 8,
  },
  { name: "1000 classes", rows: 6, classes: 1000, smoothing: 0.1, lossScale: 1024 },
  { name: "21,843 classes", rows: 3, classes: 21_843, weighted: true, smoothing: 0.1, lossScale: 1024 },
  ...perBatch(({ bench, title, batch }): CrossEntropyCase[] =>
    [1000, 21_843].map((classes) => ({
      name: `${title}: ${classes} classes`,
      bench,
      rows: batch,
      classes,
      smoothing: 0.1,
      lossScale: 1024,
    })),
  ),
];

type Numbers = ArrayLike<number>;

/** A row of logits and what it is held against. */
export interface Row {
  logits: Numbers;
  label: number;
  classWeights: Numbers;
  smoothing: number;
}

/** The target's share of each class. */
const targetOf = ({ logits, label, smoothing }: Row): Float64Array =>
  Float64Array.from({ length: logits.length }, (_, c) => (c === label ? 1 - smoothing : 0) + smoothing / logits.length);

function logSumExp(values: Numbers): number {
  const all = Array.from(values);
  const highest = all.reduce((a, b) => Math.max(a, b));
  return highest + Math.log(all.reduce((sum, x) => sum + Math.exp(x - highest), 0));
}

/** torch.nn.functional.cross_entropy of one row, reduction "sum". */
export function crossEntropyOf(row: Row): number {
  const log = logSumExp(row.logits);
  return targetOf(row).reduce((loss, t, c) => loss - row.classWeights[c]! * t * (row.logits[c]! - log), 0);
}

/** Its gradient: that of a sum of log-softmaxes, each of which is 1 at its own class less the softmax. */
export function crossEntropyGradient(row: Row): Float64Array {
  const log = logSumExp(row.logits);
  const pull = targetOf(row).map((t, c) => t * row.classWeights[c]!);
  const whole = pull.reduce((a, b) => a + b);
  return pull.map((own, c) => whole * Math.exp(row.logits[c]! - log) - own);
}

function operandsOf(one: CrossEntropyCase) {
  const { rows, classes, data = "normal", labels: which, weighted = false } = one;
  const random = randomOf(one);
  const labels = Uint32Array.from({ length: rows }, () => (which === "last" ? classes - 1 : which ? 0 : random.integer(classes)));
  const logits = random.normals(rows * classes, 2).map((x, at) => {
    const [row, c] = [Math.floor(at / classes), at % classes];
    if (data === "equal") return row - 2;
    if (data === "huge") return x + 1e4 * [-1, 1, 1 - 2 * random.integer(2)][row % 3]!;
    if (data === "last" && c === classes - 1) return 1e4;
    return data === "sure" && c === labels[row] ? x + 30 : x;
  });
  return {
    logits,
    labels,
    // A mean's are all alike; a row that takes another's shows here.
    scales: random.uniforms(rows, 0.1, 1),
    classWeights: weighted ? random.uniforms(classes, 0.2, 3) : new Float32Array(classes).fill(1),
  };
}

/** Rows of numbers that would show if they counted behind the classes: a NaN spoils sums, and a large one a maximum that skips NaN. */
const withPadding = (values: Float32Array, classes: number, cols: number): Float32Array =>
  Float32Array.from({ length: (values.length / classes) * cols }, (_, at) => {
    const [row, c] = [Math.floor(at / cols), at % cols];
    return c < classes ? values[row * classes + c]! : row % 2 === 0 ? Number.NaN : 1e6;
  });

/**
 * What rounding costs a row, from WGSL's own bounds, with u half a unit in the last place: exp(-d) is off by 3 + 2d units and d
 * by u of itself, by (6 + 5d)u in all; a sum adds `steps` roundings to the mean error of what it adds; the logarithm is off by
 * 2⁻²¹ between 0.5 and 2 and by 6u of itself elsewhere; a quotient is off by 5u. What lies below 2⁻¹²⁶ may be zero.
 */
function slackOf(row: Row, scale: number, lossScale: number, steps: number) {
  const { logits, classWeights } = row;
  const highest = Array.from(logits).reduce((a, b) => Math.max(a, b));
  const log = logSumExp(logits) - highest;
  const exponential = (c: number) => (6 + 5 * (highest - logits[c]!)) * UNIT;
  const share = (c: number) => Math.exp(logits[c]! - highest - log);
  let total = steps * UNIT;
  for (let c = 0; c < logits.length; c++) total += share(c) * exponential(c);
  const logarithm = total + (log > Math.log(2) ? 6 * UNIT * log : 2 ** -21);
  const pull = targetOf(row).map((t, c) => t * classWeights[c]!);
  const whole = pull.reduce((a, b) => a + b);
  const gradient = crossEntropyGradient(row);
  return {
    loss:
      scale *
      pull.reduce((sum, own, c) => {
        const d = highest - logits[c]!;
        return sum + own * (logarithm + UNIT * d + (steps + 5) * UNIT * (log + d));
      }, 0),
    gradient: (c: number) =>
      scale *
        lossScale *
        (whole * (share(c) * (exponential(c) + total + (steps + 8) * UNIT) + 2 ** -125) +
          2 * UNIT * pull[c]! +
          3 * UNIT * Math.abs(gradient[c]!)) +
      2 ** -125,
  };
}

export const crossEntropyOp: Op<CrossEntropyCase> = {
  name: "cross_entropy",
  cases: crossEntropyCases,
  setup(one, profile: Profile) {
    const { rows, classes, smoothing = 0, lossScale = 1, wider = 0 } = one;
    const padded = 4 * Math.ceil(classes / 4);
    const cols = padded + wider;
    const operands = memo(() => operandsOf(one));
    const contents = new Contents();
    const logits = contents.matrix(profile, "f32", rows, padded, () => withPadding(operands().logits, classes, padded), {
      first: one.logitsOffset ?? 0,
      stride: padded + (one.logitsGap ?? 0),
    });
    const targets = contents.add(() => {
      const { labels, scales } = operands();
      const bits = new Uint32Array(scales.buffer);
      return Uint32Array.from({ length: 2 * rows }, (_, at) => (at % 2 === 0 ? labels : bits)[at >> 1]!);
    });
    const classWeights = contents.add(() => withPadding(operands().classWeights, classes, padded));
    const partials = contents.output(profile, "f32", 1, 4 * rows, { first: one.partialsOffset ?? 0 });
    const gradient = contents.output(profile, "elem", rows, cols, {
      first: one.gradientOffset ?? 0,
      stride: cols + (one.gradientGap ?? 0),
    });
    const call = crossEntropy(profile, {
      ...{ logits, classes, targets, classWeights, smoothing, lossScale },
      partials: partials.view,
      gradient: gradient.view,
    });
    const lanes = pick(call.candidates).variant.overrides.LANES!;
    const steps = Math.ceil(padded / 4 / lanes) + 2 + Math.log2(lanes);
    const rowOf = (m: number): Row => ({
      logits: operands().logits.subarray(m * classes, (m + 1) * classes),
      label: operands().labels[m]!,
      classWeights: operands().classWeights,
      smoothing,
    });
    const slack = (m: number) => slackOf(rowOf(m), operands().scales[m]!, lossScale, steps);
    const rounding = isFloat16(profile, "elem") ? FLOAT16_UNIT : 0;
    return {
      call,
      contents,
      outputs: [partials.output, gradient.output],
      results: [
        {
          name: "losses",
          // Three zeros behind each.
          size: 4 * rows,
          expected: (at) => (at % 4 === 0 ? operands().scales[at / 4]! * crossEntropyOf(rowOf(at / 4)) : 0),
          tolerance: () => ({ bound: 0, slack: (at) => (at % 4 === 0 ? slack(at / 4).loss : 0) }),
        },
        {
          name: "gradient",
          of: 1,
          size: rows * cols,
          expected: inUnits(cols, (m) => {
            const factor = operands().scales[m]! * lossScale;
            const values = new Float64Array(cols);
            values.set(crossEntropyGradient(rowOf(m)).map((d) => factor * d));
            return values;
          }),
          tolerance: (reference) => {
            const f32 = inUnits(cols, (m) => {
              const { gradient } = slack(m);
              return Float64Array.from({ length: cols }, (_, c) => (c < classes ? gradient(c) : 0));
            });
            return {
              bound: 0,
              slack: (at) =>
                f32(at) + (at % cols < classes ? rounding * Math.max(Math.abs(reference[at]!) + f32(at), 2 ** -14) : 0),
            };
          },
          place: rowAndColumn(cols),
        },
      ],
      flops: 0,
      shape: `${rows} × ${classes}`,
    };
  },
};
