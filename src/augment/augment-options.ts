import type { DataFormat } from "../datasets/types.js";
import { checkKinds, checkName, StylizingError } from "../errors.js";
import { checkWorkers } from "../image/pool.js";
import type { LoadOptions } from "../painter/types.js";
import { MODEL_METHOD, methodNamed } from "../restyle/methods.js";
import type { Params } from "../restyle/types.js";
import { type Chances, parseMethods } from "./draws.js";

export const STYLE_WAYS = ["roll", "bank", "domain"] as const;
/** Whose look a sample takes: `roll`, a following sample's; `bank`, one of `style`; `domain`, a sample's of another domain. */
export type StyleWay = (typeof STYLE_WAYS)[number];

export interface AugmentOptions {
  /** `NAME[:WEIGHT],...`; by default `stylizing-vit`. Each copy gets one of them, drawn by weight. */
  method?: string | undefined;
  /** Numbers of the method, or of several by name; what is missing is drawn. */
  params?: Params | Readonly<Record<string, Params>> | undefined;
  /** How often a copy is restyled at all, from 0 to 1; default 1. */
  p?: number | undefined;
  /** The same under its published name. */
  portion?: number | undefined;
  styles?: StyleWay | undefined;
  /** Image files, and folders of them, for `bank`. */
  style?: readonly string[] | undefined;
  /** Folders whose images must not be among the styles: validation and test splits. */
  exclude?: readonly string[] | undefined;
  /** Between the content, 0, and the result, 1; drawn between two. Default 1. */
  strength?: number | readonly [number, number] | undefined;
  /** Takes a square of the style, half to all of its shorter side, in place of all of it. */
  styleCrop?: boolean | undefined;
  seed?: number | undefined;
  background?: "keep" | "paint" | undefined;
  skipBlank?: boolean | undefined;
  /** Of `stylizing-vit`; default `demo`. */
  model?: string | undefined;
  /** Images a submission. What comes out does not depend on it. */
  batch?: number | undefined;
  workers?: number | undefined;
  /** A data set, see docs/formats.md, and how it is read. */
  data?: string | undefined;
  inputFormat?: DataFormat | undefined;
  domain?: string | undefined;
  split?: string | undefined;
  label?: string | undefined;
  maskSuffix?: string | undefined;
  /** Where the model comes from and what it runs on. */
  load?: LoadOptions | undefined;
  onNote?: ((note: string) => void) | undefined;
}

/** All of it decided. */
export interface AugmentPlan extends Chances {
  styles: StyleWay;
  style: readonly string[];
  exclude: readonly string[];
  background: "keep" | "paint" | undefined;
  skipBlank: boolean;
  model: string;
  batch: number;
}

const isShare = (value: unknown): value is number => typeof value === "number" && value >= 0 && value <= 1;

/** @throws StylizingError `ARGUMENT` for what cannot be, or does not go together */
export function settleAugment(options: AugmentOptions): AugmentPlan {
  checkKinds(options, {
    ...{ method: "text", params: "object", p: "number", portion: "number", styles: "text", style: "texts", exclude: "texts" },
    ...{ strength: ["number", "numbers"], styleCrop: "flag", seed: "number", background: "text", skipBlank: "flag" },
    ...{
      model: "text",
      batch: "number",
      workers: "number",
      data: "text",
      domain: "text",
      split: "text",
      label: "text",
      maskSuffix: "text",
    },
    ...{ load: "object", onNote: "function" },
  });
  const { method = MODEL_METHOD.name, params = {}, p, portion, style = [], exclude = [], seed = 0, batch = 64 } = options;
  const { styles = style.length > 0 ? "bank" : "roll", background, skipBlank = false, styleCrop = false } = options;
  const refuse = (problem: string, fix: string) => {
    throw new StylizingError("ARGUMENT", problem, fix);
  };
  checkName("way of styles", styles, STYLE_WAYS);
  if (background !== undefined) checkName("background", background, ["keep", "paint"]);
  checkWorkers(options.workers);
  if (p !== undefined && portion !== undefined) refuse("Both p and portion are given.", "They are one: give either.");
  const share = p ?? portion ?? 1;
  if (!isShare(share)) refuse(`${p === undefined ? "portion" : "p"} is ${share}.`, "Give a probability from 0 to 1.");
  const strength = typeof options.strength === "number" ? [options.strength, options.strength] : (options.strength ?? [1, 1]);
  const [least, most] = strength as [number, number];
  if (strength.length !== 2 || !isShare(least) || !isShare(most) || least > most)
    refuse(`strength is ${strength.join(":")}.`, "Give a number from 0 to 1, or two, the smaller one first: .5:1.");
  if (!Number.isSafeInteger(seed)) refuse(`seed is ${seed}.`, "Give a whole number.");
  if (!Number.isSafeInteger(batch) || batch < 1) refuse(`batch is ${batch}.`, "Give a positive whole number.");
  const methods = parseMethods(method, params, methodNamed);
  if (styles === "bank" && style.length === 0) refuse("There is no style for the bank.", "Give images or folders with --style.");
  if (styles !== "bank" && style.length > 0)
    refuse(`Styles are given, and styles is ${styles}.`, "Leave one of them away: --style is for --styles bank.");
  return {
    ...{ seed, methods, p: share, strength: [least, most], styleCrop, styles, style, exclude, background, skipBlank },
    ...{ model: options.model ?? "demo", batch },
  };
}
