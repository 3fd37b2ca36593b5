import type { Space } from "../ops/restyle.js";
import { hedRecipe, MACENKO_TARGET, type Matrix, PRESETS, stainRecipe } from "./stain-matrices.js";
import type { Params, ParamValue } from "./types.js";

/** What of a method and its numbers decides a program. Images of one way share a submission. */
export type Way =
  | { kind: "moments"; recipe: "transfer" | "modified" | "brightness"; space: Space; weight: "all" | "tissue"; recolour: Space }
  | { kind: "stains"; recipe: "normalise" | "augment"; change: "none" | "all" | "tissue" }
  | { kind: "given"; recolour: Space; change: "all" | "tissue" }
  | { kind: "levels"; recipe: "colorist" | "match" }
  | { kind: "fourier" };

/** The numbers of a job, see kernels/parts/restyle_jobs.wgsl. */
export interface Asked {
  /** Up to six rows of four. */
  rows: readonly (readonly number[])[];
  /** Whether the first and the second of what a style says is given: the style does not count there. */
  given: readonly [boolean, boolean];
}

/** How a closed form is done. */
interface ClosedForm {
  way(params: Params): Way;
  ask(params: Params): Asked;
}

/** The deviation below which a channel is flat, by space: it is shifted and not scaled, for it is rounding noise. */
export const flatOf = (space: Space): number => (space === "opponent" ? 1e-5 : 1e-3);

const vector = (value: ParamValue | undefined): readonly number[] => (value as readonly number[] | undefined) ?? [0, 0, 0];
const NOTHING: Asked = { rows: [], given: [false, false] };

const askMoments = ({ targetMean, targetDeviation }: Params): Asked => ({
  rows: [vector(targetMean), vector(targetDeviation)],
  given: [targetMean !== undefined, targetDeviation !== undefined],
});

function moments(space: Space, weight: "all" | "tissue" = "all", recipe: "transfer" | "modified" = "transfer"): Way {
  return { kind: "moments", recipe, space, weight, recolour: space };
}

const changeOf = ({ tissueOnly }: Params) => (tissueOnly ? "tissue" : "all");

const FORMS: Readonly<Record<string, ClosedForm>> = {
  colorist: { way: () => ({ kind: "levels", recipe: "colorist" }), ask: askMoments },
  reinhard: {
    way: ({ space, tissueOnly }) => moments(space as Space, tissueOnly ? "tissue" : "all"),
    ask: askMoments,
  },
  "reinhard-modified": { way: () => moments("lab", "all", "modified"), ask: askMoments },
  "macenko-normalise": {
    way: () => ({ kind: "stains", recipe: "normalise", change: "none" }),
    ask: ({ targetStains, targetMost }) => {
      const [h, e] = (targetStains ?? MACENKO_TARGET.stains) as Matrix;
      const [most, other] = (targetMost ?? MACENKO_TARGET.most) as readonly number[];
      return {
        rows: [
          [...h!, most!],
          [...e!, other!],
        ],
        given: [targetStains !== undefined, targetMost !== undefined],
      };
    },
  },
  "macenko-augment": {
    way: (params) => ({ kind: "stains", recipe: "augment", change: changeOf(params) }),
    ask: ({ scale, shift }) => ({ ...NOTHING, rows: [[...vector(scale), ...vector(shift)]] }),
  },
  "hed-jitter": {
    way: () => ({ kind: "moments", recipe: "brightness", space: "rgb", weight: "all", recolour: "decadic" }),
    ask: ({ scale, shift }) => ({ ...NOTHING, rows: hedRecipe(vector(scale), vector(shift)) }),
  },
  "he-stain": {
    way: (params) => ({ kind: "given", recolour: "density", change: changeOf(params) }),
    ask: ({ preset, stains, scale, shift }) => ({
      ...NOTHING,
      rows: stainRecipe((stains ?? PRESETS[preset as string]) as Matrix, vector(scale), vector(shift)),
    }),
  },
  randstainna: { way: () => moments("lab8"), ask: askMoments },
  fda: { way: () => ({ kind: "fourier" }), ask: () => NOTHING },
  "histogram-match": {
    way: () => ({ kind: "levels", recipe: "match" }),
    ask: ({ blend }) => ({ ...NOTHING, rows: [[blend as number]] }),
  },
};

/** How a closed form is done; undefined where a method is none. */
export const formOf = (method: string): ClosedForm | undefined => FORMS[method];

/** Half the band of Fourier domain adaptation: at most so wide that it is its own mirror image. */
export const bandOf = (width: number, height: number, beta: number): number => {
  const side = Math.min(width, height);
  return Math.min(Math.floor(beta * side), Math.floor((side - 1) / 2));
};

/** Whether a way works on one channel as on three: stains and perceptual spaces are of colours. */
export const takesGrey = ({ kind }: Way): boolean => kind === "levels" || kind === "fourier";

/** Tells statistics apart: a style's are the same for all ways that need these. */
export function statisticsKey(way: Way): string {
  if (way.kind === "moments") return `${way.space} ${way.weight}`;
  return way.kind;
}
