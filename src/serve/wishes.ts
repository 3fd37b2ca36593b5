import { type AugmentOptions, settleAugment } from "../augment/augment-options.js";
import type { Chances } from "../augment/draws.js";
import { StylizingError } from "../errors.js";
import { someOf } from "../image/folder.js";
import { MODEL_METHOD, wantsTable } from "../restyle/methods.js";
import type { Params } from "../restyle/types.js";

/** What a request may ask for in its query; the rest is as the service was started. */
export const WISHES = [
  "shape",
  "keys",
  "method",
  "params",
  "p",
  "portion",
  "strength",
  "style-crop",
  "styles",
  "seed",
  "epoch",
] as const;
export type Wishes = Partial<Record<(typeof WISHES)[number], string>>;

const refuse = (problem: string, fix: string): never => {
  throw new StylizingError("ARGUMENT", problem, fix);
};

/** @throws StylizingError `ARGUMENT` for what is none of `allowed`, and for what is given twice */
export function wishesOf(query: unknown, allowed: readonly string[]): Wishes {
  const entries = Object.entries(query as Record<string, unknown>);
  const strangers = entries.filter(([name]) => !allowed.includes(name)).map(([name]) => name.slice(0, 40));
  if (strangers.length > 0) refuse(`The query has ${someOf(strangers)}.`, `There are ${allowed.join(", ")}.`);
  const twice = entries.find(([, value]) => typeof value !== "string");
  if (twice) refuse(`The query has ${twice[0]} twice.`, "Give it once.");
  return Object.fromEntries(entries) as Wishes;
}

function numberIn(name: string, text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isNaN(value)) refuse(`${name} is "${text.slice(0, 40)}".`, "Give a number.");
  return value;
}

/** `A:B`, or one number for both. */
function strengthOf(text: string): readonly [number, number] {
  const [least = Number.NaN, most = least, ...more] = text.split(":").map((part) => numberIn("strength", part));
  return more.length === 0 ? [least, most] : refuse(`strength is "${text.slice(0, 40)}".`, "Give A:B, or one number.");
}

/** An epoch: what is drawn hangs on it. */
export function epochOf({ epoch = "1" }: Wishes): number {
  const value = numberIn("epoch", epoch);
  return Number.isSafeInteger(value) ? value : refuse(`epoch is ${value}.`, "Give a whole number.");
}

/** A list of texts as JSON. @throws StylizingError `ARGUMENT` */
export function keysOf(json: string | undefined, count: number): string[] {
  let keys: unknown;
  try {
    keys = json === undefined ? undefined : JSON.parse(json);
  } catch {
    // Said below.
  }
  const example = 'Send a list of one text an image as JSON, as the query\'s or the metadata\'s "keys": ["tile 1", "tile 2"].';
  if (!Array.isArray(keys) || keys.some((key) => typeof key !== "string")) return refuse("The request has no keys.", example);
  if (keys.length !== count) refuse(`There are ${count} images and ${keys.length} keys.`, example);
  return keys;
}

/** How a request's images are drawn for. `own` is what the service was started with, and `plan` that settled. @throws StylizingError `ARGUMENT` */
export function chancesOf(wishes: Wishes, own: AugmentOptions, plan: Chances): Chances {
  const { method, p, portion, strength, seed, "style-crop": crop } = wishes;
  const params = wishes.params === undefined ? undefined : paramsOf(wishes.params);
  const asked = settleAugment({
    ...(method === undefined ? { method: own.method, params: params ?? own.params } : { method, params }),
    ...(p === undefined && portion === undefined ? { p: plan.p } : {}),
    ...(p === undefined ? {} : { p: numberIn("p", p) }),
    ...(portion === undefined ? {} : { portion: numberIn("portion", portion) }),
    strength: strength === undefined ? plan.strength : strengthOf(strength),
    styleCrop: crop === undefined ? plan.styleCrop : flagOf(crop),
    seed: seed === undefined ? plan.seed : numberIn("seed", seed),
  });
  // The service's own methods are settled already, tables with them.
  if (method === undefined && params === undefined) return { ...asked, methods: plan.methods };
  const hasModel = plan.methods.some((one) => one.method === MODEL_METHOD);
  for (const { method: one, params: numbers } of asked.methods) {
    if (one === MODEL_METHOD && !hasModel)
      refuse("The service was started without a model.", "Start it with --method stylizing-vit, or take a closed form.");
    if (wantsTable(one, numbers))
      refuse(`${one.name} has no table to draw from.`, "Measure one with `stylizing-vit fit`, and send it in params.");
  }
  return asked;
}

function paramsOf(json: string): Params {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Params;
  } catch {
    // Said below.
  }
  return refuse("params are no JSON object.", 'Send {"NAME": VALUE}, or {"METHOD": {"NAME": VALUE}} for several methods.');
}

const flagOf = (text: string): boolean =>
  text === "true" || (text === "false" ? false : refuse(`style-crop is "${text.slice(0, 40)}".`, "Give true or false."));
