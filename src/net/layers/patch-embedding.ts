import { numbersOf, rowsOf, type View, view } from "../../gpu/view.js";
import { type ImageShape, type Normalization, type PixelFormat, patchify } from "../../ops/images.js";
import { linear } from "../../ops/linear.js";
import { addRows, sumSlices } from "../../ops/rows.js";
import type { TrainedLinear } from "../folding.js";
import type { Recorder } from "../recorder.js";
import type { Layer } from "../tape.js";
import { weightGradient } from "./adjoints.js";

export interface PatchEmbeddingWhere extends ImageShape {
  pixels: GPUBuffer;
  format: PixelFormat;
  normalization: Normalization;
  /** Tokens of all images, f32, and the gradient there. */
  y: View;
  dy: View;
  /** Tokens of the first images once more, as many rows as there are, in another place. */
  copies: readonly { y: View; dy: View }[];
}

/** Pixels to tokens: a linear layer over patches, and a table that holds its bias, CLS and positions. */
export class PatchEmbedding implements Layer<PatchEmbeddingWhere> {
  readonly #weights: TrainedLinear;
  readonly #table: View;
  readonly #gradients: GPUBuffer;
  readonly #patchSize: number;
  /** Offsets in the flat array. */
  readonly #places: { position: number; cls: number };

  /** @param table [tokens, width] f32 */
  constructor(
    weights: TrainedLinear,
    table: View,
    gradients: GPUBuffer,
    shape: { patchSize: number; position: number; cls: number },
  ) {
    const { patchSize, ...places } = shape;
    this.#weights = weights;
    this.#table = table;
    this.#gradients = gradients;
    this.#patchSize = patchSize;
    this.#places = places;
  }

  #patches(r: Recorder, { y }: PatchEmbeddingWhere): View {
    return r.scratch("patches", y.rows, this.#weights.linear.cols, "elem");
  }

  forward(r: Recorder, where: PatchEmbeddingWhere): void {
    const { images, channels, imageSize, pixels, format, normalization, y, copies } = where;
    const patches = this.#patches(r, where);
    const image = { images, channels, height: imageSize, width: imageSize, patchSize: this.#patchSize };
    r.emit(patchify, { ...image, pixels, format, normalization, patches });
    r.section("GEMM", () => {
      for (const one of [y, ...copies.map((copy) => copy.y)])
        r.emit(linear, { x: rowsOf(patches, 0, one.rows), w: this.#weights.forward, y: one, table: this.#table });
    });
  }

  backward(r: Recorder, where: PatchEmbeddingWhere): void {
    const { images, dy, copies } = where;
    const { rows: tokens, cols: width } = this.#table;
    for (const copy of copies) r.emit(addRows, { from: copy.dy, to: rowsOf(dy, 0, copy.dy.rows) });
    const dTable = r.scratch("table gradient", tokens, width, "f32");
    const sum = (slices: number, count: number, x: View, y: View, accumulate: boolean) =>
      r.emit(sumSlices, { x: view(x.buffer, "f32", slices, count, { first: x.first }), y, accumulate });
    const place = (count: number, first: number) => numbersOf(this.#gradients, count, first);
    const { position, cls } = this.#places;
    const part = this.#weights.linear.parts[0]!;
    sum(images, tokens * width, dy, dTable, false);
    sum(1, tokens * width, dTable, place(tokens * width, position), true);
    sum(1, width, dTable, place(width, cls), true);
    sum(tokens - 1, width, rowsOf(dTable, 1), place(width, part.bias), true);
    const { weight, rows, cols } = part;
    weightGradient(r, this.#gradients, { weight, rows, cols }, dy, this.#patches(r, where));
  }
}
