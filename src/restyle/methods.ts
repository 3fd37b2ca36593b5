import { StylizingError } from "../errors.js";
import { DISTRIBUTIONS, type Distribution, standard, uniforms } from "./draws.js";
import { checkParams, choiceOf, flagOf, nearest, numberOf, rowsOf, type Spec, vectorOf, vectorsOf } from "./parameters.js";
import { cross, dot, PRESETS } from "./stain-matrices.js";
import type { Draw, Method, Params, ParamValue } from "./types.js";

/** A method's own words: what it takes, and how what is not given is settled. */
interface Words {
  name: string;
  summary: string;
  source: string;
  parameters: readonly Spec[];
  /** Numbers without which an image is needed, unless all of one group are given; no group: it needs none. */
  instead: readonly (readonly string[])[] | "always" | "never";
  /** With these numbers an image that may be given says nothing more. */
  enough?: readonly string[];
  settle?: (params: Params, draw: Draw) => Params;
}

/** Names of RandStainNA's tables, as its authors and the golden cases have them. */
export const TABLE_NAMES = ["avg_mean", "avg_std", "std_mean", "std_std"] as const;
/** By name, three numbers each. */
export type RandStainTable = Readonly<Record<(typeof TABLE_NAMES)[number], readonly number[]>>;

const OF_STYLE = "the style's";
const target = (units: string): Spec[] => [
  vectorOf("targetMean", 3, `3 numbers: the mean to be given, ${units}`, OF_STYLE),
  vectorOf("targetDeviation", 3, `3 numbers from 0 on: the deviation to be given, ${units}`, OF_STYLE, { least: 0 }),
];
const TARGETS = [["targetMean", "targetDeviation"]];
const TISSUE_ONLY = flagOf("tissueOnly", "false", "whether bare glass is left as it is");

/** Stains that are two: closer ones cannot be told apart. */
const areTwo = ([h, e]: number[][]): boolean => {
  const normal = cross(h!, e!);
  return dot(normal, normal) > 1e-4 * dot(h!, h!) * dot(e!, e!);
};

type Span = readonly [low: number, high: number];

/** α and β of so many stains: draws 0 and on are α's, those behind them β's. */
const jittered = (params: Params, draw: Draw, count: number, scale: Span, shift: Span): Params => ({
  scale: params.scale ?? uniforms(draw, 0, count, ...scale),
  shift: params.shift ?? uniforms(draw, count, count, ...shift),
  ...params,
});

/** The virtual template of RandStainNA (Shen et al., MICCAI 2022), in the table's units: deviations are at least 1e-4. */
export function randStainTarget(
  table: RandStainTable,
  { zMean, zDeviation, distribution, stdHyper }: Params,
): { targetMean: number[]; targetDeviation: number[] } {
  const reach = distribution === "uniform" ? 3 : 1 + (stdHyper as number);
  const at = (mean: readonly number[], deviation: readonly number[], z: ParamValue | undefined) =>
    mean.map((value, c) => value + deviation[c]! * reach * (z as readonly number[])[c]!);
  return {
    targetMean: at(table.avg_mean, table.avg_std, zMean),
    targetDeviation: at(table.std_mean, table.std_std, zDeviation).map((value) => Math.max(value, 1e-4)),
  };
}

function settleRandStain(params: Params, draw: Draw): Params {
  if (params.targetMean !== undefined && params.targetDeviation !== undefined) return params;
  const distribution = (params.distribution ?? "normal") as Distribution;
  const z = (first: number) => [0, 1, 2].map((c) => standard(distribution, draw, first + c));
  const settled: Params = { distribution, stdHyper: 0, zMean: z(0), zDeviation: z(3), ...params };
  if (params.table === undefined) return settled;
  return { ...settled, ...randStainTarget(params.table as RandStainTable, settled), ...params };
}

/** What the model is called. */
const MODEL = "stylizing-vit";

const WORDS: readonly Words[] = [
  {
    name: "colorist",
    summary: "mean and deviation of each RGB channel",
    source: "Doerrich et al., arXiv 2608.18915",
    parameters: target("in [0, 1]"),
    instead: TARGETS,
  },
  {
    name: "reinhard",
    summary: "mean and deviation of each channel of a perceptual space",
    source: "Reinhard et al., IEEE CG&A 21(5), 2001",
    parameters: [
      choiceOf("space", ["lab", "opponent"], "lab: CIE L*a*b*; opponent: Ruderman's, as in the paper"),
      flagOf("tissueOnly", "false", "whether bare glass counts in no statistics; without tissue an image stays as it is"),
      ...target("in the units of the space"),
    ],
    instead: TARGETS,
    settle: (params) => ({ space: "lab", tissueOnly: false, ...params }),
  },
  {
    name: "reinhard-modified",
    summary: "milder: L* keeps its mean and gains contrast, a* and b* are shifted",
    source: "Roy et al., Micron 2021",
    parameters: target("of L*, a*, b*"),
    instead: TARGETS,
  },
  {
    name: "macenko-normalise",
    summary: "stains found in the image, replaced by a target's",
    source: "Macenko et al., ISBI 2009",
    parameters: [
      rowsOf(
        "targetStains",
        2,
        "2 rows of 3 numbers: hematoxylin and eosin",
        "the style's; without one the usual target",
        areTwo,
      ),
      vectorOf("targetMost", 2, "2 numbers above 0: their 99th percentiles", "the style's; without one 1.9705, 1.0308", {
        least: Number.MIN_VALUE,
      }),
    ],
    instead: "never",
    enough: ["targetStains", "targetMost"],
  },
  {
    name: "macenko-augment",
    summary: "stains found in the image, made stronger and weaker",
    source: "Tellez et al., IEEE TMI 2018, with the stains of Macenko et al., ISBI 2009",
    parameters: [
      vectorOf("scale", 2, "2 numbers, one a stain", "drawn from .8 to 1.2 (draws 0, 1)"),
      vectorOf("shift", 2, "2 numbers, one a stain", "drawn from -.2 to .2 (draws 2, 3)"),
      TISSUE_ONLY,
    ],
    instead: "never",
    settle: (params, draw) => jittered({ tissueOnly: false, ...params }, draw, 2, [0.8, 1.2], [-0.2, 0.2]),
  },
  {
    name: "hed-jitter",
    summary: "hematoxylin, eosin and DAB, each made stronger and weaker",
    source: "Tellez et al., IEEE TMI 2018; declines as Faryna et al., MIDL 2021",
    parameters: [
      vectorOf("scale", 3, "3 numbers, one a stain", "drawn from 1 - theta to 1 + theta (draws 0 to 2)"),
      vectorOf("shift", 3, "3 numbers, one a stain, in decadic densities", "drawn from -theta to theta (draws 3 to 5)"),
      numberOf("theta", "a number from 0 to 1: how far scale and shift are drawn", ".05", { least: 0, most: 1 }),
    ],
    instead: "never",
    settle: ({ theta = 0.05, ...params }, draw) => {
      const reach = theta as number;
      return jittered(params, draw, 3, [1 - reach, 1 + reach], [-reach, reach]);
    },
  },
  {
    name: "he-stain",
    summary: "given stains, made stronger and weaker",
    source: "HEStain of albumentations",
    parameters: [
      choiceOf("preset", Object.keys(PRESETS), "drawn from all (draw 4), unless there are stains"),
      rowsOf("stains", 2, "2 rows of 3 numbers: hematoxylin and eosin", "those of the preset", areTwo),
      vectorOf("scale", 2, "2 numbers, one a stain", "drawn from .7 to 1.3 (draws 0, 1)"),
      vectorOf("shift", 2, "2 numbers, one a stain", "drawn from -.2 to .2 (draws 2, 3)"),
      TISSUE_ONLY,
    ],
    instead: "never",
    settle: (params, draw) => {
      const names = Object.keys(PRESETS);
      const preset = (params.stains ?? params.preset) === undefined ? { preset: names[Math.floor(names.length * draw(4))]! } : {};
      return jittered({ ...preset, tissueOnly: false, ...params }, draw, 2, [0.7, 1.3], [-0.2, 0.2]);
    },
  },
  {
    name: "randstainna",
    summary: "Reinhard towards a template that is drawn from a data set's table",
    source: "Shen et al., MICCAI 2022",
    parameters: [
      vectorsOf(
        "table",
        TABLE_NAMES,
        `${TABLE_NAMES.join(", ")}: 3 numbers each, of L* · 2.55, a* + 128, b* + 128, as \`stylizing-vit fit\` measures them`,
        "measured on the styles",
      ),
      choiceOf("distribution", DISTRIBUTIONS, "normal"),
      numberOf("stdHyper", "a number above -1: deviations of the table are 1 + stdHyper times as wide", "0", {
        least: -1 + Number.EPSILON,
      }),
      vectorOf("zMean", 3, "3 standard draws, for the means", "drawn (draws 0 to 5, two a number)"),
      vectorOf("zDeviation", 3, "3 standard draws, for the deviations", "drawn (draws 6 to 11, two a number)"),
      vectorOf("targetMean", 3, "3 numbers in the table's units: the mean to be given", "by the table"),
      vectorOf("targetDeviation", 3, "3 numbers in the table's units: the deviation to be given", "by the table", { least: 0 }),
    ],
    instead: [["table"], ...TARGETS],
    settle: settleRandStain,
  },
  {
    name: "fda",
    summary: "amplitudes of low frequencies of a style, phases of the content",
    source: "Yang and Soatto, CVPR 2020",
    parameters: [
      numberOf("beta", "a number from 0 to .5: half the band, as a share of the shorter side", ".01", { least: 0, most: 0.5 }),
    ],
    instead: "always",
    settle: (params) => ({ beta: 0.01, ...params }),
  },
  {
    name: "histogram-match",
    summary: "the style's distribution of levels, channel by channel",
    source: "as scikit-image has it",
    parameters: [
      numberOf("blend", "a number from 0 to 1: how much of the match, the rest being the content", "1", { least: 0, most: 1 }),
    ],
    instead: "always",
    settle: (params) => ({ blend: 1, ...params }),
  },
  {
    name: MODEL,
    summary: "a vision transformer paints the content in the style",
    source: "Doerrich et al., ISBI 2026, arXiv 2601.17586",
    parameters: [
      {
        ...{
          name: "scale",
          takes: "fit, native, or a factor from 0 to 1: the scale that the model sees the content at",
          otherwise: "fit",
        },
        problem: (value) =>
          value === "fit" || value === "native" || (typeof value === "number" && value > 0 && value <= 1)
            ? undefined
            : `scale is ${JSON.stringify(value)}, and takes fit, native, or a number from 0 to 1`,
      },
    ],
    instead: "always",
    settle: (params) => ({ scale: "fit", ...params }),
  },
];

const needs = (instead: Words["instead"], params: Params): boolean =>
  typeof instead === "string" ? instead === "always" : !instead.some((names) => names.every((one) => params[one] !== undefined));

const methodOf = ({ name, summary, source, parameters, instead, enough, settle = (params) => params }: Words): Method => ({
  ...{ name, summary, source },
  parameters: parameters.map(({ problem: _, ...rest }) => rest),
  needsStyle: (params) => needs(instead, params),
  takesStyle: (params) => (enough ? enough.some((one) => params[one] === undefined) : needs(instead, params)),
  check: (params) => checkParams(name, parameters, params),
  settle,
});

/** What restyles images: the closed forms, and the model. */
export const METHODS: readonly Method[] = WORDS.map(methodOf);
/** Whether it is drawn from a table, and there is none: one is to be measured on images. */
export const wantsTable = ({ name, needsStyle }: Method, params: Params): boolean => name === "randstainna" && needsStyle(params);
/** The model's. */
export const MODEL_METHOD = METHODS.find(({ name }) => name === MODEL)!;

/** @throws StylizingError `ARGUMENT`, listing the names */
export function methodNamed(name: string): Method {
  const found = METHODS.find((one) => one.name === name);
  if (found) return found;
  const names = METHODS.map((one) => one.name);
  const like = nearest(String(name), names);
  const cure = `${like ? `Did you mean ${like}? ` : ""}There are ${names.join(", ")}.`;
  throw new StylizingError("ARGUMENT", `There is no method "${name}".`, cure);
}
