import { columnsOf, type View } from "../../gpu/view.js";
import { attention } from "../../ops/attention.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { linear } from "../../ops/linear.js";
import type { LinearWeights, WeightUpload } from "../folding.js";
import type { Linear } from "../parameters.js";
import type { Recorder } from "../recorder.js";

/** Weights of an encoder block, as GEMMs take them. */
export interface BlockWeights {
  /** Columns: query | key | value. */
  qkv: LinearWeights;
  out: LinearWeights;
  fc1: LinearWeights;
  fc2: LinearWeights;
}

/**
 * Reads and uploads blocks one after another, so that host memory holds one at a time.
 * @param onBlock called after each, with how many are done
 * @throws the signal's reason when aborted
 */
export async function uploadBlocks(
  weights: WeightUpload,
  layers: readonly Readonly<Record<keyof BlockWeights, Linear>>[],
  signal: AbortSignal | undefined,
  onBlock: (done: number) => void,
): Promise<BlockWeights[]> {
  const blocks: BlockWeights[] = [];
  for (const { qkv, out, fc1, fc2 } of layers) {
    signal?.throwIfAborted();
    blocks.push({
      qkv: await weights.linear(qkv),
      out: await weights.linear(out),
      fc1: await weights.linear(fc1),
      fc2: await weights.linear(fc2),
    });
    await weights.settle();
    onBlock(blocks.length);
  }
  return blocks;
}

export interface BlockShape {
  /** Tokens of a sequence. */
  tokens: number;
  heads: number;
  /** Padded width of all heads: columns of query, key and value each. */
  attention: number;
  /** Numbers of a residual row that count. */
  width: number;
}

/** Which parts of query | key | value are wanted. */
export type QkvPart = "qkv" | "q" | "kv";

/** One pre-norm encoder block for inference; its stages are open, since sequences share work between them. */
export class Block {
  readonly #r: Recorder;
  readonly #weights: BlockWeights;
  readonly #shape: BlockShape;

  constructor(r: Recorder, weights: BlockWeights, shape: BlockShape) {
    this.#r = r;
    this.#weights = weights;
    this.#shape = shape;
  }

  /** Columns of query | key | value that a part takes: the first, and how many. */
  columns(part: QkvPart): { first: number; count: number } {
    const { attention: all } = this.#shape;
    return { first: part === "kv" ? all : 0, count: (part === "qkv" ? 3 : part === "kv" ? 2 : 1) * all };
  }

  /** y = LayerNorm(x), without scale and shift, which are folded into the matrices that follow. */
  normalize(x: View, y: View): void {
    this.#r.emit(layerNorm, { x, y, width: this.#shape.width });
  }

  /** Normalised rows to a part of query | key | value. */
  project(x: View, part: QkvPart, y: View): void {
    const { forward, bias } = this.#weights.qkv;
    const { first, count } = this.columns(part);
    this.#r.emit(linear, { x, w: columnsOf(forward, first, count), bias, y });
  }

  /** Attention of `sequences` sequences, into y from its first row. */
  attend(sequences: number, index: GPUBuffer, q: View, k: View, v: View, y: View): void {
    const { tokens, heads } = this.#shape;
    this.#r.emit(attention, { sequences, tokens, heads, index, q, k, v, y });
  }

  /** Output projection, added to rows of the residual stream, or to those of a table again and again. */
  projectOut(x: View, y: View, added: { residual: View } | { table: View }): void {
    const { forward: w, bias } = this.#weights.out;
    this.#r.emit(linear, { x, w, bias, y, ...added });
  }

  /** x ← x + fc2(GELU(fc1(LayerNorm(x)))), over normalised and hidden rows that are lost. */
  mlp(x: View, normal: View, hidden: View): void {
    const { fc1, fc2 } = this.#weights;
    this.normalize(x, normal);
    this.#r.emit(linear, { x: normal, w: fc1.forward, bias: fc1.bias, y: hidden, activation: "gelu" });
    this.#r.emit(linear, { x: hidden, w: fc2.forward, bias: fc2.bias, y: x, residual: x });
  }
}
