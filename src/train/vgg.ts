import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import { float32ToFloat16Bits } from "../hub/half.js";
import type { WeightSource } from "../hub/weight-source.js";
import {
  featureStatisticsParameters,
  mapsElements,
  maxPoolParameters,
  paddedChannels,
  planFeatureStatistics,
  planMaxPool,
  statisticsElements,
} from "../ops/features.js";
import { coefficientsElements, featureBackwardParameters, planFeatureBackward } from "../ops/losses.js";
import type { StepList } from "./steps.js";
import { VGG_STAGES, vggKeys } from "./vgg-weights.js";

/**
 * VGG-19's feature maps (Simonyan and Zisserman 2015) and the way from their gradients back to the pictures. It is frozen, so there
 * are no gradients of weights. Convolutions are products of windows (kernels/parts/linear_windows.wgsl) over maps with a
 * border of zeros. A picture has six levels: behind the last ReLU of each of five stages, and behind the last pooling.
 */

/** One map's size. */
export interface Geometry {
  side: number;
  channels: number;
}

interface Convolution {
  /** Of input and output, padded to multiples of 4. */
  inputs: number;
  outputs: number;
  /** [9 · inputs, outputs] elem: taps by inputs. */
  forward: GPUBuffer;
  bias: GPUBuffer;
  /** [9 · outputs, inputs] elem: taps turned round, by outputs. */
  backward: GPUBuffer;
}

/** Maps of a batch of pictures: what came out of every ReLU and every pooling. */
export interface FeatureMaps {
  picture: GPUBuffer;
  /** By stage and convolution. */
  activations: readonly (readonly GPUBuffer[])[];
  pooled: readonly GPUBuffer[];
}

/** The six levels of a batch of pictures. */
export type Levels = readonly GPUBuffer[];

/** Sides of the five stages' maps; the last pooling's follows. Floor, as pooling has it. */
export function levelGeometry(imageSize: number): Geometry[] {
  const stages = VGG_STAGES.map(({ channels }, stage) => ({ channels, side: Math.floor(imageSize / 2 ** stage) }));
  const last = stages[stages.length - 1]!;
  return [...stages, { channels: last.channels, side: Math.floor(last.side / 2) }];
}

export class Vgg {
  readonly gpu: Gpu;
  readonly levels: readonly Geometry[];
  readonly #channels: number;
  readonly #stages: readonly (readonly Convolution[])[];
  readonly #buffers: GPUBuffer[];
  /** Gradients on their way back, by geometry: a buffer of another shape would have its border elsewhere. */
  readonly #gradients = new Map<string, GPUBuffer>();

  private constructor(
    gpu: Gpu,
    channels: number,
    imageSize: number,
    stages: readonly (readonly Convolution[])[],
    buffers: GPUBuffer[],
  ) {
    this.gpu = gpu;
    this.levels = levelGeometry(imageSize);
    this.#channels = channels;
    this.#stages = stages;
    this.#buffers = buffers;
  }

  /** Uploads the weights, twice: as the forward and as the backward pass multiply with them. */
  static async create(gpu: Gpu, source: WeightSource, channels: number, imageSize: number): Promise<Vgg> {
    const buffers: GPUBuffer[] = [];
    const upload = (label: string, values: Float32Array, elem: boolean) => {
      const data = elem && gpu.profile.elementBytes === 2 ? float32ToFloat16Bits(values) : values;
      const buffer = gpu.buffer(label, data.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
      gpu.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
      buffers.push(buffer);
      return buffer;
    };
    const stages: Convolution[][] = [];
    let inputs = channels;
    for (const [stage, keys] of vggKeys().entries()) {
      const convolutions: Convolution[] = [];
      for (const key of keys) {
        const outputs = VGG_STAGES[stage]!.channels;
        const weight = await source.read(`${key}.weight`);
        const padded = paddedChannels(inputs);
        const forward = new Float32Array(9 * padded * outputs);
        const backward = new Float32Array(9 * outputs * padded);
        for (let o = 0; o < outputs; o++) {
          for (let c = 0; c < inputs; c++) {
            for (let tap = 0; tap < 9; tap++) {
              const value = weight[(o * inputs + c) * 9 + tap]!;
              forward[(tap * padded + c) * outputs + o] = value;
              backward[((8 - tap) * outputs + o) * padded + c] = value;
            }
          }
        }
        convolutions.push({
          inputs: padded,
          outputs,
          forward: upload(`${key} forward`, forward, true),
          bias: upload(`${key} bias`, await source.read(`${key}.bias`), false),
          backward: upload(`${key} backward`, backward, true),
        });
        inputs = outputs;
        // So that staging memory does not hold all of it at once.
        await gpu.device.queue.onSubmittedWorkDone();
      }
      stages.push(convolutions);
    }
    return new Vgg(gpu, channels, imageSize, stages, buffers);
  }

  #maps(label: string, images: number, { side, channels }: Geometry): GPUBuffer {
    const buffer = this.gpu.storage(label, mapsElements({ images, side, channels }) * this.gpu.profile.elementBytes);
    this.#buffers.push(buffer);
    return buffer;
  }

  #numbers(label: string, count: number): GPUBuffer {
    const buffer = this.gpu.storage(label, 4 * count);
    this.#buffers.push(buffer);
    return buffer;
  }

  /** Room for all maps of a batch. */
  createMaps(images: number): FeatureMaps {
    return {
      picture: this.#maps("VGG picture", images, { side: this.levels[0]!.side, channels: this.#channels }),
      activations: this.#stages.map((convolutions, stage) =>
        convolutions.map((_, index) => this.#maps(`VGG stage ${stage} convolution ${index}`, images, this.levels[stage]!)),
      ),
      pooled: this.#stages.map((_, stage) =>
        this.#maps(`VGG pooling ${stage}`, images, { ...this.levels[stage]!, side: Math.floor(this.levels[stage]!.side / 2) }),
      ),
    };
  }

  /** Room for the six levels of a batch, its statistics and the coefficients of the gradients at them. */
  createLevels(images: number): { targets: Levels; statistics: Levels; coefficients: Levels } {
    return {
      targets: this.levels.map((geometry, level) => this.#maps(`targets ${level}`, images, geometry)),
      statistics: this.levels.map(({ channels }, level) =>
        this.#numbers(`statistics ${level}`, statisticsElements({ images, channels })),
      ),
      coefficients: this.levels.map(({ channels }, level) =>
        this.#numbers(`coefficients ${level}`, coefficientsElements({ images, channels })),
      ),
    };
  }

  /** The levels of `maps`, in its own buffers. */
  levelsOf(maps: FeatureMaps): Levels {
    return [...maps.activations.map((stage) => stage[stage.length - 1]!), maps.pooled[maps.pooled.length - 1]!];
  }

  /**
   * Features of the pictures in `maps.picture`. With `targets` the six levels are written there and what is between them is
   * left in `maps`, whose buffers the next batch may then use.
   */
  forward(steps: StepList, maps: FeatureMaps, images: number, targets?: Levels): void {
    steps.share = "vgg";
    let input = maps.picture;
    for (const [stage, convolutions] of this.#stages.entries()) {
      const { side, channels } = this.levels[stage]!;
      for (const [index, convolution] of convolutions.entries()) {
        const isLevel = index === convolutions.length - 1;
        const output = isLevel && targets ? targets[stage]! : maps.activations[stage]![index]!;
        const { inputs, outputs, forward, bias } = convolution;
        steps.linear(
          {
            rows: images * side ** 2,
            depth: 9 * inputs,
            cols: outputs,
            epilogue: "relu",
            result: "elem",
            windowChannels: inputs,
          },
          { input, weight: forward, bias, output },
          { inputStride: inputs, weightStride: outputs, outputStride: outputs, side },
        );
        input = output;
      }
      const output = stage === this.#stages.length - 1 && targets ? targets[stage + 1]! : maps.pooled[stage]!;
      const shape = { images, side, channels };
      steps.add(planMaxPool(shape, this.gpu.profile), [input, output], maxPoolParameters(shape));
      input = output;
    }
  }

  /** Mean and deviation of every image and channel at every level. */
  statistics(steps: StepList, levels: Levels, images: number, statistics: Levels): void {
    steps.share = "vgg";
    for (const [level, geometry] of this.levels.entries()) {
      const shape = { images, ...geometry };
      steps.add(
        planFeatureStatistics(shape, this.gpu.profile),
        [levels[level]!, statistics[level]!],
        featureStatisticsParameters(shape),
      );
    }
  }

  #gradient(images: number, geometry: Geometry, slot: number): GPUBuffer {
    const key = `${geometry.side}x${geometry.channels}x${slot}x${images}`;
    let buffer = this.#gradients.get(key);
    if (!buffer) {
      buffer = this.#maps(`VGG gradient ${key}`, images, geometry);
      this.#gradients.set(key, buffer);
    }
    return buffer;
  }

  /**
   * The way back from the coefficients at the six levels (see ops/losses.ts) to the pictures.
   * @param room images that the buffers of gradients are made for, at least `images`
   * @returns gradients of the pictures, as bordered maps
   */
  backward(
    steps: StepList,
    maps: FeatureMaps,
    images: number,
    { targets, coefficients }: { targets: Levels; coefficients: Levels },
    room: number,
  ): GPUBuffer {
    steps.share = "vgg";
    const { profile } = this.gpu;
    const own = this.levelsOf(maps);
    const last = this.levels.length - 1;
    const behind = { images, ...this.levels[last]!, mask: false, pooled: false };
    let gradient = this.#gradient(room, this.levels[last]!, 0);
    steps.add(
      planFeatureBackward(behind, profile),
      [own[last]!, targets[last]!, coefficients[last]!, own[last]!, gradient],
      featureBackwardParameters(behind),
    );
    for (let stage = last - 1; stage >= 0; stage--) {
      const { side, channels } = this.levels[stage]!;
      const level = { images, side, channels, mask: true, pooled: true };
      const unpooled = this.#gradient(room, { side, channels }, 0);
      steps.add(
        planFeatureBackward(level, profile),
        [own[stage]!, targets[stage]!, coefficients[stage]!, gradient, unpooled],
        featureBackwardParameters(level),
      );
      gradient = unpooled;
      const convolutions = this.#stages[stage]!;
      for (let index = convolutions.length - 1; index >= 0; index--) {
        const { inputs, outputs, backward } = convolutions[index]!;
        // In front of the stage's first convolution there is a pooling or the picture, elsewhere a ReLU.
        const activations = index > 0 ? maps.activations[stage]![index - 1]! : undefined;
        const slot = (convolutions.length - index) % 2;
        // A picture's gradient, or that of a pooling, has channels of its own; else the two buffers of the stage take turns.
        const output = this.#gradient(room, { side, channels: inputs }, inputs === outputs ? slot : 2);
        steps.linear(
          {
            rows: images * side ** 2,
            depth: 9 * outputs,
            cols: inputs,
            epilogue: activations ? "relu_derivative" : "none",
            result: "elem",
            windowChannels: outputs,
          },
          { input: gradient, weight: backward, output, ...(activations ? { table: activations } : {}) },
          { inputStride: outputs, weightStride: inputs, outputStride: inputs, side },
        );
        gradient = output;
      }
    }
    return gradient;
  }

  dispose(): void {
    this.gpu.release(...this.#buffers);
  }
}
