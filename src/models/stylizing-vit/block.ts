import { columnsOf, type View } from "../../gpu/view.js";
import type { Recorder } from "../../net/recorder.js";
import { attention } from "../../ops/attention.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { linear } from "../../ops/linear.js";
import type { BlockWeights, ModelWeights } from "./weights.js";

/** Which parts of query | key | value are wanted. */
export type QkvPart = "qkv" | "q" | "kv";

/** One encoder block for inference; its stages are open, since streams share work between them. */
export class Block {
  readonly #r: Recorder;
  readonly #model: ModelWeights;
  readonly #weights: BlockWeights;

  constructor(r: Recorder, model: ModelWeights, index: number) {
    this.#r = r;
    this.#model = model;
    this.#weights = model.layers[index]!;
  }

  /** Columns of query | key | value that a part takes: the first, and how many. */
  columns(part: QkvPart): { first: number; count: number } {
    const { attention: all } = this.#model.layout;
    return { first: part === "kv" ? all : 0, count: (part === "qkv" ? 3 : part === "kv" ? 2 : 1) * all };
  }

  /** Normalised rows to a part of query | key | value. */
  project(x: View, part: QkvPart, y: View): void {
    const { forward, bias } = this.#weights.qkv;
    const { first, count } = this.columns(part);
    this.#r.emit(linear, { x, w: columnsOf(forward, first, count), bias, y });
  }

  /** Attention of `sequences` sequences, into y from its first row. */
  attend(sequences: number, index: GPUBuffer, q: View, k: View, v: View, y: View): void {
    const { tokens, heads } = this.#model.layout;
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
    this.#r.emit(layerNorm, { x, y: normal, width: this.#model.config.embed_dim });
    this.#r.emit(linear, { x: normal, w: fc1.forward, bias: fc1.bias, y: hidden, activation: "gelu" });
    this.#r.emit(linear, { x: hidden, w: fc2.forward, bias: fc2.bias, y: x, residual: x });
  }
}
