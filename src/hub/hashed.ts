import { StylizingError } from "../errors.js";
import { fnv1a, mix32 } from "../random.js";
import type { WeightSource } from "./weight-source.js";

/**
 * `count` numbers in [-1, 1), a pure function of name, index and seed: large tensors without large files. The same bits
 * on every machine and in the Python reference; a multiple of 2^-23, so that not even the conversion to float rounds.
 * @throws StylizingError `ARGUMENT` when count is not a length or the seed not an integer
 */
export function hashedUniform(name: string, count: number, seed: number): Float32Array {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new StylizingError("ARGUMENT", `Cannot make ${count} hashed values.`, "Give a whole number of values.");
  }
  if (!Number.isSafeInteger(seed)) {
    throw new StylizingError("ARGUMENT", `The seed ${seed} is not an integer.`, "Give a whole number, as in hashed:5.");
  }
  const start = fnv1a(name) + Math.imul(seed, 0x85ebca6b);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = (mix32((Math.imul(i, 0x9e3779b9) + start) | 0) >>> 8) * 2 ** -23 - 1;
  return out;
}

/**
 * A parameter that needs no file: hashed numbers whose scale and offset follow from its name and shape (norms around
 * one, small biases, matrices that keep unit variance, queries and keys twice that). In a packed query, key, value matrix queries
 * and keys have a gain of √2 each, and lengths of weight-normalised rows are one.
 */
export function hashedTensor(name: string, shape: readonly number[], seed: number): Float32Array {
  const values = hashedUniform(
    name,
    shape.reduce((a, b) => a * b, 1),
    seed,
  );
  if (name.endsWith("weight_g")) return values.fill(1);
  if (name.endsWith("attn.qkv.weight")) {
    const third = values.length / 3;
    for (const [part, gain] of [Math.SQRT2, Math.SQRT2, 1].entries()) {
      const scale = Math.fround(gain * Math.sqrt(3 / shape[1]!));
      for (let i = part * third; i < (part + 1) * third; i++) values[i] = scale * values[i]!;
    }
    return values;
  }
  let scale: number;
  let offset = 0;
  if ((name.includes(".norm") || name === "norm.weight") && name.endsWith("weight")) {
    scale = 0.2;
    offset = 1;
  } else if (name.endsWith("bias")) {
    scale = 0.1;
  } else if (name.endsWith("cls_token") || name.endsWith("pos_embed")) {
    scale = 0.5;
  } else {
    const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
    const gain = name.includes(".q_proj") || name.includes(".k_proj") ? 2 : name.startsWith("vgg_encoder") ? Math.sqrt(2) : 1;
    scale = gain * Math.sqrt(3 / fanIn);
  }
  // The reference multiplies and adds in float32: the product must be rounded before the offset is added.
  const rounded = Math.fround(scale);
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(rounded * values[i]!) + offset;
  return values;
}

/** Weights for every key of a shape table, computed when they are read. */
export class HashedWeights implements WeightSource {
  readonly label: string;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly #seed: number;

  /** @throws StylizingError `ARGUMENT` when the seed is not an integer */
  constructor(shapes: ReadonlyMap<string, readonly number[]>, seed: number) {
    hashedUniform("", 0, seed);
    this.label = `hashed:${seed}`;
    this.shapes = shapes;
    this.#seed = seed;
  }

  /** @throws StylizingError `CHECKPOINT` when the shape table has no such key */
  async read(key: string): Promise<Float32Array> {
    const shape = this.shapes.get(key);
    if (shape === undefined) {
      throw new StylizingError("CHECKPOINT", `${this.label} has no tensor ${key}.`, "Read one of the keys in `shapes`.");
    }
    return hashedTensor(key, shape, this.#seed);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
