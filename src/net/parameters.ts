import { StylizingError } from "../errors.js";
import { type Initial, initialValues } from "./initialise.js";

/**
 * One registry a model: every published tensor with its shape, how it begins, where it lies in the flat arrays that training keeps on
 * the device, and how GEMMs take it. Weights, gradients and both moments of the optimiser are laid out alike, so that the optimiser
 * is one kernel over one range. Matrices stay as published, [outputs, inputs]; sizes are padded to multiples of 4 with zeros. The
 * gradient of padding is zero, so it stays zero.
 *
 * The recipe by which GEMMs take a matrix (`Part`) is data with two readers: folding.ts follows it on the host, in float64, when a model is
 * loaded; `Folded` on the device, once a training step.
 */

/** One axis of a matrix: how many numbers it has, and where they go among `padded`. */
export interface Axis {
  readonly size: number;
  readonly padded: number;
  /** Padded position of a number; its own where this is left out. */
  readonly at?: (index: number) => number;
}

export const pad4 = (size: number): number => Math.ceil(size / 4) * 4;

/** An axis padded behind its end alone. */
export const axis = (size: number): Axis => ({ size, padded: pad4(size) });

/** How a published tensor, [rows, cols], lies in the flat array. */
export interface Place {
  readonly offset: number;
  readonly rows: number;
  readonly cols: number;
  /** Numbers between two rows. */
  readonly stride: number;
  readonly row?: ((row: number) => number) | undefined;
  readonly column?: ((column: number) => number) | undefined;
}

export interface Tensor {
  readonly key: string;
  readonly shape: readonly number[];
  readonly initial: Initial;
  readonly place: Place;
}

/** Scale and shift of a LayerNorm, as offsets in the flat array. */
export interface Norm {
  readonly key: string;
  readonly gamma: number;
  readonly beta: number;
}

/** Published matrices of one `Part`, with their biases. */
export interface MatrixSource {
  /** Key without `.weight`. */
  readonly key: string;
  readonly outputs: Axis;
  readonly weight: Initial;
  /** How its bias begins; undefined where it has none. */
  readonly bias: Initial | undefined;
  /** Published with more axes than two. */
  readonly shape?: readonly number[];
  /**
   * Where it is some rows of a published matrix, such as the queries' of a packed query, key, value: the first of them, of how many.
   * A layer holds all rows of such a matrix, in their order.
   */
  readonly slice?: { readonly first: number; readonly of: number };
}

/** Outputs of a linear layer with the same LayerNorm in front: W ← factor · W · diag(γ), b ← factor · (b + W · β). */
export interface Part {
  /** The first of its outputs among those of the layer, and how many, padded. */
  readonly first: number;
  readonly rows: number;
  /** Inputs, padded. */
  readonly cols: number;
  /** Offsets in the flat array. */
  readonly weight: number;
  readonly bias: number;
  readonly norm: Norm | undefined;
  readonly factor: number;
  readonly sources: readonly MatrixSource[];
}

/** A linear layer: matrices with the same input, side by side. */
export interface Linear {
  readonly label: string;
  readonly inputs: Axis;
  /** Outputs and inputs, padded. */
  readonly rows: number;
  readonly cols: number;
  readonly weight: number;
  readonly bias: number;
  readonly parts: readonly Part[];
}

/** Tensors begin at multiples of this many numbers: whole cache lines, and matrix units' groups of eight. */
const ALIGNMENT = 64;

export class Parameters {
  readonly tensors: Tensor[] = [];
  readonly linears: Linear[] = [];
  #count = 0;

  /** Numbers of a flat array. */
  get count(): number {
    return this.#count;
  }

  #take(numbers: number): number {
    const offset = this.#count;
    this.#count = Math.ceil((this.#count + numbers) / ALIGNMENT) * ALIGNMENT;
    return offset;
  }

  #add(key: string, shape: readonly number[], initial: Initial, place: Place): void {
    this.tensors.push({ key, shape, initial, place });
  }

  /** A tensor of rows of `columns` numbers. @returns its offset */
  rows(key: string, shape: readonly number[], initial: Initial, columns: Axis): number {
    const rows = shape.reduce((a, b) => a * b, 1) / columns.size;
    const offset = this.#take(rows * columns.padded);
    this.#add(key, shape, initial, { offset, rows, cols: columns.size, stride: columns.padded, column: columns.at });
    return offset;
  }

  norm(key: string, width: Axis): Norm {
    const gamma = this.rows(`${key}.weight`, [width.size], { constant: 1 }, width);
    return { key, gamma, beta: this.rows(`${key}.bias`, [width.size], { constant: 0 }, width) };
  }

  /** A linear layer of one or several matrices, of one or several parts. */
  linear(
    label: string,
    inputs: Axis,
    parts: readonly { norm?: Norm; factor?: number; sources: readonly MatrixSource[] }[],
  ): Linear {
    const rows = parts.flatMap(({ sources }) => sources).reduce((sum, { outputs }) => sum + outputs.padded, 0);
    const cols = inputs.padded;
    const weight = this.#take(rows * cols);
    const bias = this.#take(rows);
    let first = 0;
    // Slices of a published matrix stand one behind the other: its rows' places, as far as they are known.
    let slices: number[] = [];
    let begin = 0;
    const made = parts.map(({ norm, factor = 1, sources }): Part => {
      const start = first;
      for (const { key, outputs, weight: began, bias: biasBegan, shape, slice } of sources) {
        if (!slice || slice.first === 0) {
          slices = [];
          begin = first;
        }
        const from = first - begin;
        for (let row = 0; row < outputs.size; row++) slices.push(from + (outputs.at ? outputs.at(row) : row));
        first += outputs.padded;
        if (slice && slices.length < slice.of) continue;
        const own = slices;
        const at = (row: number) => own[row]!;
        this.#add(`${key}.weight`, shape ?? [own.length, inputs.size], began, {
          offset: weight + begin * cols,
          rows: own.length,
          cols: inputs.size,
          stride: cols,
          row: at,
          column: inputs.at,
        });
        // Without biases theirs are zeros that nothing ever gives a gradient.
        const place = { offset: bias + begin, rows: 1, cols: own.length, stride: first - begin, column: at };
        if (biasBegan) this.#add(`${key}.bias`, [own.length], biasBegan, place);
      }
      const place = { first: start, rows: first - start, cols, weight: weight + start * cols, bias: bias + start };
      return { ...place, norm, factor, sources };
    });
    const linear = { label, inputs, rows, cols, weight, bias, parts: made };
    this.linears.push(linear);
    return linear;
  }

  /** A bit for every 64 numbers of a flat array, in words of 32: whether they are of a tensor that `holds`. */
  mask(holds: (tensor: Tensor) => boolean): Uint32Array {
    const words = new Uint32Array(Math.ceil(this.count / ALIGNMENT / 32));
    for (const tensor of this.tensors) {
      if (!holds(tensor)) continue;
      const { offset, rows, stride, row } = tensor.place;
      // Rows lie in their order, so that nothing is behind the last one.
      const last = offset + ((row ? row(rows - 1) : rows - 1) + 1) * stride;
      for (let block = Math.floor(offset / ALIGNMENT); block * ALIGNMENT < last; block++) words[block >> 5]! |= 1 << (block & 31);
    }
    return words;
  }

  /** Shapes by published key: what a checkpoint must hold. */
  get shapes(): Map<string, readonly number[]> {
    return new Map(this.tensors.map(({ key, shape }) => [key, shape]));
  }

  /** The weights that training begins with, by published key. @throws StylizingError `ARGUMENT` where the seed is no whole number. */
  initial(seed: number): Map<string, Float32Array> {
    return new Map(
      this.tensors.map(({ key, shape, initial }) => {
        const count = shape.reduce((a, b) => a * b, 1);
        return [key, initialValues(initial, key, count, seed)];
      }),
    );
  }

  /**
   * Published tensors as one flat array.
   * @throws StylizingError `CHECKPOINT` where a tensor is missing or has another size
   */
  flatten(tensors: ReadonlyMap<string, Float32Array>): Float32Array {
    const flat = new Float32Array(this.count);
    for (const { key, place } of this.tensors) {
      const values = tensors.get(key);
      const wanted = place.rows * place.cols;
      if (values?.length !== wanted) {
        throw new StylizingError(
          "CHECKPOINT",
          `The state to train from has ${values ? `${values.length} numbers` : "no tensor"} for ${key}, and ${wanted} are needed.`,
          "Use a state of this configuration.",
        );
      }
      eachNumber(place, (own, at) => {
        flat[at] = values[own]!;
      });
    }
    return flat;
  }

  /** The published tensors of a flat array, in the order in which checkpoints hold them. */
  unflatten(flat: Float32Array): Map<string, Float32Array> {
    return new Map(
      this.tensors.map(({ key, place }) => {
        const values = new Float32Array(place.rows * place.cols);
        eachNumber(place, (own, at) => {
          values[own] = flat[at]!;
        });
        return [key, values];
      }),
    );
  }
}

/** Walks the numbers of a tensor: its own index, and the index in the flat array. */
function eachNumber({ offset, rows, cols, stride, row, column }: Place, visit: (own: number, flat: number) => void): void {
  for (let r = 0; r < rows; r++) {
    const start = offset + (row ? row(r) : r) * stride;
    for (let c = 0; c < cols; c++) visit(r * cols + c, start + (column ? column(c) : c));
  }
}
