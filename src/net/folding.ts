import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import { type View, view } from "../gpu/view.js";
import { float32ToFloat16Bits } from "../hub/float16.js";
import type { WeightSource } from "../hub/weight-source.js";
import { foldBias, foldMatrix, unfold } from "../ops/weights.js";
import type { Linear, Norm, Part } from "./parameters.js";
import type { Recorder } from "./recorder.js";

/** A linear layer as GEMMs take it: [inputs, outputs] elem, and a bias an output, f32. */
export interface LinearWeights {
  readonly forward: View;
  readonly bias: GPUBuffer;
}

/** Columns written side by side, so that the transposition fills whole cache lines. */
const STRIP = 16;

/** Weights on their way from a checkpoint to the device, folded on the host in float64, which products of two f32 are exact in. */
export class WeightUpload {
  readonly #gpu: Gpu;
  readonly #source: WeightSource;
  readonly buffers: GPUBuffer[] = [];

  constructor(gpu: Gpu, source: WeightSource) {
    this.#gpu = gpu;
    this.#source = source;
  }

  read(key: string): Promise<Float32Array> {
    return this.#source.read(key);
  }

  upload(label: string, data: Float32Array | Uint16Array): GPUBuffer {
    const buffer = this.#gpu.buffer(label, data.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    this.buffers.push(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, 0, data as Uint16Array<ArrayBuffer>);
    return buffer;
  }

  /** Reads and uploads a row of numbers, zeros behind it up to `width`. */
  async row(key: string, width: number): Promise<GPUBuffer> {
    const row = new Float32Array(width);
    row.set(await this.read(key));
    return this.upload(key, row);
  }

  /** Reads, folds and uploads a linear layer; its bias is zero where it `stands elsewhere`. */
  async linear({ label, inputs, rows, cols, parts }: Linear, biasElsewhere = false): Promise<LinearWeights> {
    const weight = new Float32Array(rows * cols);
    const bias = new Float32Array(rows);
    for (const part of parts) await this.#fold(part, inputs.at, weight, bias, rows, biasElsewhere);
    const elements = this.#gpu.profile.elementBytes === 2 ? float32ToFloat16Bits(weight) : weight;
    return {
      forward: view(this.upload(`${label} weight`, elements), "elem", cols, rows),
      bias: this.upload(`${label} bias`, bias),
    };
  }

  async #norm(norm: Norm | undefined): Promise<{ gamma: Float32Array; beta: Float32Array } | undefined> {
    if (!norm) return undefined;
    return { gamma: await this.read(`${norm.key}.weight`), beta: await this.read(`${norm.key}.bias`) };
  }

  async #fold(
    { first, norm, factor, sources }: Part,
    row: ((input: number) => number) | undefined,
    target: Float32Array,
    targetBias: Float32Array,
    stride: number,
    biasElsewhere: boolean,
  ): Promise<void> {
    const scales = await this.#norm(norm);
    let start = first;
    for (const { key, outputs, bias: hasBias, slice } of sources) {
      const whole = await this.read(`${key}.weight`);
      const count = outputs.size;
      const inputs = whole.length / (slice?.of ?? count);
      const matrix = slice ? whole.subarray(slice.first * inputs, (slice.first + count) * inputs) : whole;
      const bias = hasBias && !biasElsewhere ? (await this.read(`${key}.bias`)).subarray(slice?.first ?? 0) : undefined;
      const column = (output: number) => start + (outputs.at ? outputs.at(output) : output);
      const shift = new Float64Array(count);
      for (let strip = 0; strip < count; strip += STRIP) {
        const end = Math.min(strip + STRIP, count);
        for (let input = 0; input < inputs; input++) {
          const at = (row ? row(input) : input) * stride;
          const gamma = scales ? scales.gamma[input]! * factor : factor;
          const beta = scales ? scales.beta[input]! : 0;
          for (let output = strip; output < end; output++) {
            const value = matrix[output * inputs + input]!;
            target[at + column(output)] = value * gamma;
            shift[output]! += value * beta;
          }
        }
      }
      for (let output = 0; output < count; output++)
        targetBias[column(output)] = factor * ((bias ? bias[output]! : 0) + shift[output]!);
      start += outputs.padded;
    }
  }

  /** Lets the device take over what was written, so that the host does not hold the staging of a whole model. */
  async settle(): Promise<void> {
    this.#gpu.device.queue.submit([]);
    await this.#gpu.device.queue.onSubmittedWorkDone();
  }
}

/** A linear layer that is trained: folded on the device from the flat array, for both passes. */
export interface TrainedLinear extends LinearWeights {
  readonly linear: Linear;
  /** [outputs, inputs] elem. */
  readonly backward: View;
}

/** Room for the folded matrices of a linear layer. */
export function foldedLinear(gpu: Gpu, linear: Linear, buffers: GPUBuffer[]): TrainedLinear {
  const { label, rows, cols } = linear;
  const take = (what: string, bytes: number) => {
    const buffer = gpu.storage(`${label} ${what}`, bytes);
    buffers.push(buffer);
    return buffer;
  };
  const bytes = rows * cols * gpu.profile.elementBytes;
  return {
    linear,
    forward: view(take("forward", bytes), "elem", cols, rows),
    backward: view(take("backward", bytes), "elem", rows, cols),
    bias: take("bias", 4 * rows),
  };
}

/** Folds a linear layer from the flat array: once a step, before its batches. */
export function foldLinear(r: Recorder, parameters: GPUBuffer, { linear, forward, backward, bias }: TrainedLinear): void {
  for (const part of linear.parts) {
    const { rows, cols, weight, norm, factor, first } = part;
    r.emit(foldMatrix, {
      ...{ rows, cols, weight, bias: part.bias, norm, factor },
      ...{ parameters, forward, backward: backward.buffer, column: first },
    });
    r.emit(foldBias, { rows, cols, weight, bias: part.bias, norm, factor, parameters, folded: bias, first });
  }
}

/** Gradients of a folded layer to those of its published matrix and LayerNorm: once a step, behind its batches. */
export function unfoldLinear(r: Recorder, parameters: GPUBuffer, gradients: GPUBuffer, { linear }: TrainedLinear): void {
  for (const { rows, cols, weight, bias, norm } of linear.parts)
    if (norm) r.emit(unfold, { rows, cols, weight, bias, norm, parameters, gradients });
}
