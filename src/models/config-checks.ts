import { StylizingError } from "../errors.js";

/** What the configurations of all models are checked by. All throw StylizingError `CONFIG`. */

export function refuseConfig(problem: string, fix: string): never {
  throw new StylizingError("CONFIG", problem, fix);
}

/** @throws StylizingError `CONFIG`, naming the key that is no integer from `least` on. */
export function checkIntegers<Config>(config: Config, keys: readonly (keyof Config & string)[], least = 1): void {
  for (const key of keys) {
    const value = config[key];
    if (!Number.isSafeInteger(value) || (value as number) < least) {
      const wanted = least === 1 ? "a positive integer" : `an integer from ${least} on`;
      refuseConfig(`The configuration's ${key} is ${JSON.stringify(value)}.`, `It must be ${wanted}.`);
    }
  }
}

/** `int(width · ratio)` as the references have it; the sliver keeps a ratio read off shapes (hidden / width) from rounding down. */
export function hiddenUnits(width: number, ratio: number): number {
  return Math.floor(width * ratio + 1e-6);
}

/** @throws StylizingError `CONFIG`, naming the ratio that leaves no hidden unit. */
export function checkRatios<Config extends { embed_dim: number }>(
  config: Config,
  keys: readonly (keyof Config & string)[],
): void {
  for (const key of keys) {
    const value = config[key];
    if (typeof value !== "number" || !Number.isFinite(value) || hiddenUnits(config.embed_dim, value) < 1)
      refuseConfig(
        `The configuration's ${key} is ${JSON.stringify(value)}.`,
        "It must be a positive number that leaves at least one hidden unit.",
      );
  }
}

export function checkFlag<Config>(config: Config, key: keyof Config & string): void {
  if (typeof config[key] !== "boolean")
    refuseConfig(`The configuration's ${key} is ${JSON.stringify(config[key])}.`, "It must be true or false.");
}

/** Images in whole patches, and a width in whole heads. */
export function checkGrid(config: { image_size: number; patch_size: number; embed_dim: number; num_heads: number }): void {
  const { image_size: s, patch_size: p, embed_dim: d, num_heads: h } = config;
  if (s % p !== 0)
    refuseConfig(`The image size ${s} is not a multiple of the patch size ${p}.`, "Change image_size or patch_size.");
  if (d % h !== 0) refuseConfig(`The width ${d} is not a multiple of ${h} heads.`, "Change embed_dim or num_heads.");
}

/** What is to be done about a mean or a deviation that cannot be one of pixels in [0, 1]; undefined where nothing is wrong. */
export function statisticsCure(name: "mean" | "std", values: readonly unknown[]): string | undefined {
  const numbers = values as readonly number[];
  const within = (least: number, most: number) => numbers.every((v) => Number.isFinite(v) && v >= least && v <= most);
  if (within(0, 1) && !(name === "std" && numbers.includes(0))) return undefined;
  if (within(0, 255) && numbers.some((v) => v > 1))
    return `Pixels count from 0 to 1 here: divide by 255, ${numbers.map((v) => Number((v / 255).toFixed(4)))}.`;
  return `Give ${numbers.length} ${name === "mean" ? "numbers in [0, 1]" : "positive numbers up to 1"}, one a channel.`;
}

/** Mean and deviation of a channel each, where they are given. */
export function checkStatistics(config: { in_channels: number; mean?: unknown; std?: unknown }): void {
  for (const name of ["mean", "std"] as const) {
    const value = config[name];
    if (value === undefined) continue;
    const problem = `The configuration's ${name} is ${JSON.stringify(value)}.`;
    if (!Array.isArray(value) || value.length !== config.in_channels)
      refuseConfig(problem, `Give ${config.in_channels} ${name === "std" ? "positive " : ""}numbers, one a channel, in [0, 1].`);
    const cure = statisticsCure(name, value);
    if (cure !== undefined) refuseConfig(problem, cure);
  }
}

/**
 * The keys of a parsed `config.json` that are known; missing ones take the defaults. Unknown ones are ignored, since other tools
 * write theirs into the same file.
 */
export function readConfig<Config extends object>(
  json: unknown,
  label: string,
  {
    keys,
    needed,
    defaults,
  }: { keys: readonly (keyof Config & string)[]; needed: readonly (keyof Config & string)[]; defaults: Partial<Config> },
): Config {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    refuseConfig(`${label} does not hold a JSON object.`, 'Write the model\'s configuration as { "image_size": 224, ... }.');
  const given = json as Partial<Config>;
  for (const key of needed)
    if (given[key] === undefined)
      refuseConfig(`${label} lacks ${key}.`, "Add it, or leave the file away so that shapes decide (with 64-wide heads).");
  const known = keys.filter((key) => given[key] !== undefined && given[key] !== null).map((key) => [key, given[key]]);
  return { ...defaults, ...Object.fromEntries(known) } as Config;
}

/** Width of a head in the published models, assumed where nothing says otherwise. */
const HEAD_DIM = 64;

/** Heads of a checkpoint that does not say how many it has. @throws StylizingError `CONFIG` where they cannot be told */
export function inferHeads(label: string, width: number): number {
  if (width % HEAD_DIM !== 0)
    refuseConfig(
      `${label} does not say how many heads it has, and its width ${width} is not a multiple of the usual ${HEAD_DIM}.`,
      "Put a config.json with num_heads beside it, or give one with --config.",
    );
  return width / HEAD_DIM;
}

/** A tensor's shape in a checkpoint that must have it. @throws StylizingError `CHECKPOINT` where it is missing or has other axes */
export function neededShape(
  shapes: ReadonlyMap<string, readonly number[]>,
  key: string,
  rank: number,
  { label, model }: { label: string; model: string },
): readonly number[] {
  const found = shapes.get(key);
  if (!found) throw new StylizingError("CHECKPOINT", `${label} lacks the tensor ${key}.`, `Is it a ${model} checkpoint?`);
  if (found.length !== rank)
    throw new StylizingError(
      "CHECKPOINT",
      `${label}: ${key} has the shape [${found.join(", ")}].`,
      `A ${model} has ${rank} axes there.`,
    );
  return found;
}

/** Side of the square grid of patches that a table of positions is for, CLS's left out. @throws StylizingError `CHECKPOINT` */
export function gridSide(tokens: number, key: string, { label, model }: { label: string; model: string }): number {
  const side = Math.round(Math.sqrt(tokens - 1));
  if (side < 1 || side * side !== tokens - 1)
    throw new StylizingError(
      "CHECKPOINT",
      `${label}: ${key} has ${tokens} tokens.`,
      `A ${model} has one for CLS and a square number of patches.`,
    );
  return side;
}

/**
 * Holds a checkpoint's shapes against those that a configuration asks for.
 * @throws StylizingError `CHECKPOINT` naming the missing key, `CONFIG` naming the tensor whose shape contradicts it.
 */
export function checkTensors(
  wanted: ReadonlyMap<string, readonly number[]>,
  shapes: ReadonlyMap<string, readonly number[]>,
  label: string,
): void {
  const missing = [...wanted.keys()].filter((key) => !shapes.has(key));
  if (missing.length > 0) {
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw new StylizingError(
      "CHECKPOINT",
      `${label} lacks the tensor ${missing[0]}${more}.`,
      "The file is incomplete, or its configuration is another model's.",
    );
  }
  for (const [key, shape] of wanted) {
    const found = shapes.get(key)!;
    if (found.length !== shape.length || found.some((size, axis) => size !== shape[axis]))
      refuseConfig(
        `${label}: ${key} has the shape [${found.join(", ")}], and the configuration asks for [${shape.join(", ")}].`,
        "Use the configuration that the weights were trained with.",
      );
  }
}
