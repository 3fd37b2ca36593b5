import { StylizingError } from "../errors.js";
import type { PixelImage, Placement } from "../image/types.js";
import { fnv1a, fraction } from "../random.js";
import type { Draw, Method, Params } from "../restyle/types.js";

/**
 * What an operation draws for a sample: [0, 1), a pure function of (seed, epoch, the sample's key, operation, draw), of nothing else.
 * @param epoch copy N of a data set is what epoch N gives.
 */
export const drawsOf =
  (seed: number, epoch: number, key: string, operation: string): Draw =>
  (draw) =>
    fraction(seed, epoch, fnv1a(key), fnv1a(operation), draw);

/** A method, how often it is taken among several, and its numbers; what is missing is drawn. */
export interface WeightedMethod {
  method: Method;
  weight: number;
  params: Params;
}

/** What is decided by drawing. */
export interface Chances {
  seed: number;
  methods: readonly WeightedMethod[];
  /** How often a copy is restyled at all. */
  p: number;
  /** From 0 to 1. */
  strength: readonly [least: number, most: number];
  styleCrop: boolean;
}

/** What becomes of a sample in an epoch. */
export interface Decision {
  method: Method;
  params: Params;
  strength: number;
  /** [0, 1): where in a list of styles its own stands. */
  style: number;
  /** What is taken of a style, where it is not all of it. */
  crop?: ((style: PixelImage) => Placement) | undefined;
}

/** Decides what becomes of a sample in an epoch; nothing where it stays as it is. */
export function decide(chances: Chances, key: string, epoch: number): Decision | undefined {
  const { seed, methods, p, strength, styleCrop } = chances;
  const draws = (operation: string) => drawsOf(seed, epoch, key, operation);
  if (draws("apply")(0) >= p) return undefined;
  const total = methods.reduce((sum, { weight }) => sum + weight, 0);
  let left = draws("method")(0) * total;
  const { method, params } =
    methods.find(({ weight }) => {
      left -= weight;
      return left < 0;
    }) ?? methods.at(-1)!;
  const [least, most] = strength;
  const crop = draws("style-crop");
  return {
    method,
    params: method.settle(params, draws(method.name)),
    strength: least + (most - least) * draws("strength")(0),
    style: draws("style")(0),
    ...(styleCrop ? { crop: (image: PixelImage) => cropOf(image, [crop(0), crop(1), crop(2)]) } : {}),
  };
}

/** The square of a style that is taken, of its side, left and top in [0, 1): the side is half to all of the shorter one. */
function cropOf(
  { width, height }: Pick<PixelImage, "width" | "height">,
  [s, x, y]: readonly [number, number, number],
): Placement {
  const shorter = Math.min(width, height);
  const side = Math.max(1, Math.round(shorter * (0.5 + 0.5 * s)));
  return { left: Math.floor(x * (width - side + 1)), top: Math.floor(y * (height - side + 1)), width: side, height: side };
}

/** `NAME[:WEIGHT],...`, with numbers for one method or, by name, for several. @throws StylizingError `ARGUMENT` */
export function parseMethods(
  text: string,
  params: Params | Readonly<Record<string, Params>>,
  named: (name: string) => Method,
): WeightedMethod[] {
  const parts = text.split(",").map((part) => part.trim());
  const methods = parts.map((part) => {
    const [name = "", weight = "1", more] = part.split(":");
    const value = Number(weight);
    if (more !== undefined || weight.trim() === "" || !Number.isFinite(value) || value <= 0)
      throw new StylizingError("ARGUMENT", `"${part}" is no method.`, "Write NAME or NAME:WEIGHT, with a weight above 0.");
    return { method: named(name.trim()), weight: value };
  });
  const names = methods.map(({ method }) => method.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new StylizingError("ARGUMENT", `${twice} is named twice.`, "Name each method once, with its weight.");
  const nested = Object.keys(params).some((name) => names.includes(name)) || methods.length > 1;
  const stranger = nested ? Object.keys(params).find((name) => !names.includes(name)) : undefined;
  if (stranger !== undefined)
    throw new StylizingError(
      "ARGUMENT",
      `The parameters are for "${stranger}", which is none of ${names.join(", ")}.`,
      `With several methods give parameters by method: {"${names[0]}": {...}}.`,
    );
  return methods.map(({ method, weight }) => {
    const own = (nested ? (params as Record<string, Params>)[method.name] : (params as Params)) ?? {};
    method.check(own);
    return { method, weight, params: own };
  });
}
