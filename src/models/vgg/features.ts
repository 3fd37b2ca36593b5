import { BufferUsage } from "../../gpu/dawn.js";
import type { Gpu } from "../../gpu/gpu.js";
import { type View, view } from "../../gpu/view.js";
import { float32ToFloat16Bits } from "../../hub/float16.js";
import type { WeightSource } from "../../hub/weight-source.js";
import type { Recorder } from "../../net/recorder.js";
import { type Layer, Tape } from "../../net/tape.js";
import { clearMargin, maxPool, paddedChannels } from "../../ops/features.js";
import { linear } from "../../ops/linear.js";
import { featureBackward } from "../../ops/losses.js";
import { type Stage, VGG_STAGES, vggKeys } from "./weights.js";

/**
 * VGG's feature maps (Simonyan and Zisserman 2015) and the way from their gradients back to the images. It is frozen, so there
 * are no gradients of weights. Convolutions are implicit GEMMs (kernels/parts/linear_windows.wgsl) over square maps with a
 * border of zeros. An image has six levels: behind the last ReLU of each of five stages, and behind the last pooling.
 */

/** One map's size. */
export interface Geometry {
  side: number;
  channels: number;
}

/** Gradients at the levels are computed where they are needed, from what a loss leaves of each: see ops/losses.ts. */
export interface LevelGradients {
  targets: readonly View[];
  coefficients: readonly View[];
}

interface ConvolutionWhere {
  images: number;
  side: number;
  x: View;
  y: View;
  /** Where there is a backward pass, here and below. */
  dy?: View | undefined;
  dx?: View | undefined;
  /** Whether x came out of a ReLU. */
  activated: boolean;
}

/** 3 × 3, with a ReLU behind it. */
class Convolution implements Layer<ConvolutionWhere> {
  /** Of input and output, padded to multiples of 4. */
  readonly inputs: number;
  readonly outputs: number;
  /** [9 · inputs, outputs] elem: taps by inputs. */
  readonly #forward: View;
  readonly #bias: GPUBuffer;
  /** [9 · outputs, inputs] elem: taps flipped, by outputs; where there is a backward pass. */
  readonly #backward: View | undefined;

  constructor(inputs: number, outputs: number, weights: { forward: GPUBuffer; bias: GPUBuffer; backward?: GPUBuffer }) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.#forward = view(weights.forward, "elem", 9 * inputs, outputs);
    this.#bias = weights.bias;
    if (weights.backward) this.#backward = view(weights.backward, "elem", 9 * outputs, inputs);
  }

  forward(r: Recorder, { images, side, x, y }: ConvolutionWhere): void {
    const windows = { images, side, channels: this.inputs };
    r.emit(linear, { x, w: this.#forward, bias: this.#bias, y, activation: "relu", windows });
  }

  backward(r: Recorder, { images, side, x, dy, dx, activated }: ConvolutionWhere): void {
    const windows = { images, side, channels: this.outputs };
    const derivative = activated ? ({ of: "relu", at: x } as const) : undefined;
    r.emit(linear, { x: dy!, w: this.#backward!, y: dx!, derivative, windows });
  }
}

interface LevelWhere extends Geometry {
  images: number;
  /** The level's maps, and what they are pooled to; the last level is not pooled any more. */
  x: View;
  pooled?: View;
  /** What a loss left for the level; nothing where there is no backward pass. */
  target?: View | undefined;
  coefficients?: View | undefined;
  dPooled?: View | undefined;
  dx?: View | undefined;
}

/** A level: its gradient is that of a loss there and, through the pooling behind it, of the levels that follow. */
const level: Layer<LevelWhere> = {
  forward(r, { images, side, channels, x, pooled }) {
    if (pooled) r.emit(maxPool, { images, side, channels, x, y: pooled });
  },
  backward(r, { images, side, channels, x, pooled, target, coefficients, dPooled, dx }) {
    const maps = { images, side, channels };
    // What came out of a pooling has no ReLU behind it.
    r.emit(featureBackward, {
      ...maps,
      f: x,
      g: target!,
      coefficients: coefficients!,
      dPooled,
      dx: dx!,
      mask: pooled !== undefined,
    });
  },
};

/** Sides of the stages' maps; the last pooling's follows. Floor, as pooling has it. */
function levelGeometry(imageSize: number, stages: readonly Stage[]): Geometry[] {
  const all = stages.map(({ channels }, stage) => ({ channels, side: Math.floor(imageSize / 2 ** stage) }));
  const last = all[all.length - 1]!;
  return [...all, { channels: last.channels, side: Math.floor(last.side / 2) }];
}

/** A network's weights on a device, for images of any size. */
export class VggWeights {
  /** Of the images. */
  readonly channels: number;
  readonly stages: readonly Stage[];
  readonly convolutions: readonly (readonly Convolution[])[];
  readonly #gpu: Gpu;
  readonly #buffers: readonly GPUBuffer[];

  private constructor(
    gpu: Gpu,
    channels: number,
    stages: readonly Stage[],
    convolutions: readonly (readonly Convolution[])[],
    buffers: readonly GPUBuffer[],
  ) {
    this.#gpu = gpu;
    this.channels = channels;
    this.stages = stages;
    this.convolutions = convolutions;
    this.#buffers = buffers;
  }

  /** Uploads the weights as the forward pass multiplies with them and, where there is one, as the backward pass does. */
  static async upload(
    gpu: Gpu,
    source: WeightSource,
    channels: number,
    stages: readonly Stage[],
    { backward: reversible }: { backward: boolean },
  ): Promise<VggWeights> {
    const buffers: GPUBuffer[] = [];
    const upload = (label: string, values: Float32Array, elem: boolean) => {
      const data = elem && gpu.profile.elementBytes === 2 ? float32ToFloat16Bits(values) : values;
      const buffer = gpu.buffer(label, data.byteLength, BufferUsage.STORAGE | BufferUsage.COPY_DST);
      gpu.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
      buffers.push(buffer);
      return buffer;
    };
    try {
      const made: Convolution[][] = [];
      let inputs = channels;
      for (const [stage, keys] of vggKeys(stages).entries()) {
        const convolutions: Convolution[] = [];
        for (const key of keys) {
          const outputs = stages[stage]!.channels;
          const weight = await source.read(`${key}.weight`);
          const padded = paddedChannels(inputs);
          const forward = new Float32Array(9 * padded * outputs);
          const backward = new Float32Array(reversible ? 9 * outputs * padded : 0);
          for (let o = 0; o < outputs; o++) {
            for (let c = 0; c < inputs; c++) {
              for (let tap = 0; tap < 9; tap++) {
                const value = weight[(o * inputs + c) * 9 + tap]!;
                forward[(tap * padded + c) * outputs + o] = value;
                if (reversible) backward[((8 - tap) * outputs + o) * padded + c] = value;
              }
            }
          }
          const weights = {
            forward: upload(`${key} forward`, forward, true),
            bias: upload(`${key} bias`, await source.read(`${key}.bias`), false),
            ...(reversible ? { backward: upload(`${key} backward`, backward, true) } : {}),
          };
          convolutions.push(new Convolution(padded, outputs, weights));
          inputs = outputs;
          // So that staging memory does not hold all of it at once.
          await gpu.device.queue.onSubmittedWorkDone();
        }
        made.push(convolutions);
      }
      return new VggWeights(gpu, channels, stages, made, buffers);
    } catch (error) {
      gpu.release(...buffers);
      throw error;
    }
  }

  dispose(): void {
    this.#gpu.release(...this.#buffers);
  }
}

/** Pixels of an image in the upper left corner of the square of `side`; the rest of all maps is kept at zero, as if it were border. */
export interface Inside {
  height: number;
  width: number;
}

/** A network for images of one size. */
export class Vgg {
  readonly levels: readonly Geometry[];
  readonly #weights: VggWeights;
  readonly #inside: Inside | undefined;

  /**
   * @param side of the square that images lie in
   * @param options `inside`: where images are no squares; forward only. `last`: whether the last pooling is one of the levels, which takes
   *   images of SMALLEST_IMAGE.
   */
  constructor(weights: VggWeights, side: number, { inside, last = true }: { inside?: Inside; last?: boolean } = {}) {
    const levels = levelGeometry(side, weights.stages);
    this.levels = last ? levels : levels.slice(0, -1);
    this.#weights = weights;
    this.#inside = inside && (inside.height < side || inside.width < side) ? inside : undefined;
  }

  /**
   * Uploads the weights of one that may be reversed.
   * @param stages a thinner network of the same kind, for tests
   */
  static async create(
    gpu: Gpu,
    source: WeightSource,
    channels: number,
    imageSize: number,
    stages: readonly Stage[] = VGG_STAGES,
  ): Promise<Vgg> {
    return new Vgg(await VggWeights.upload(gpu, source, channels, stages, { backward: true }), imageSize);
  }

  /** Bordered maps of a batch. */
  maps(r: Recorder, name: string, images: number, { side, channels }: Geometry): View {
    return r.scratch(`VGG ${name}`, images * (side + 2) ** 2, paddedChannels(channels), "elem");
  }

  /** Where the images go that `run` looks at. */
  input(r: Recorder, images: number): View {
    return this.maps(r, "image", images, { side: this.levels[0]!.side, channels: this.#weights.channels });
  }

  /** The pixels of a level's maps that are of the image. */
  inside(level: number): Inside {
    const { side } = this.levels[level]!;
    const { height, width } = this.#inside ?? { height: side * 2 ** level, width: side * 2 ** level };
    return { height: Math.floor(height / 2 ** level), width: Math.floor(width / 2 ** level) };
  }

  /** Maps of images that are no squares: what a kernel left beside the image becomes zeros, as the border is. */
  clear(r: Recorder, images: number, level: number, channels: number, maps: View): void {
    const { side } = this.levels[level]!;
    if (this.#inside) r.emit(clearMargin, { images, side, channels, ...this.inside(level), maps });
  }

  /**
   * Runs the network over the images in `input`, onto a tape that may be reversed.
   * @param name of the levels: those of another name may then be kept, while what is between them serves the next batch
   * @param gradients what a loss leaves at the levels
   * @returns the levels, and where the gradient of the images will be
   */
  run(tape: Tape, images: number, name: string, gradients: LevelGradients): { levels: View[]; dx: View } {
    const { levels, dx } = this.#run(tape, images, name, gradients);
    return { levels, dx: dx! };
  }

  /** Without gradients the tape must not be reversed. */
  #run(tape: Tape, images: number, name: string, gradients?: LevelGradients): { levels: View[]; dx: View | undefined } {
    const r = tape.recorder;
    const levels: View[] = [];
    /** The last pooling. */
    const last = this.#weights.stages.length;
    // By geometry: a buffer of another shape would have its border elsewhere.
    const gradient = ({ side, channels }: Geometry, slot: number) =>
      gradients && this.maps(r, `gradient ${side}x${channels}x${slot}`, images, { side, channels });
    let x = this.input(r, images);
    let dImages: View | undefined;
    let activated = false;
    for (const [stage, convolutions] of this.#weights.convolutions.entries()) {
      const { side, channels } = this.levels[stage]!;
      for (const [index, convolution] of convolutions.entries()) {
        const isLevel = index === convolutions.length - 1;
        const y = this.maps(r, isLevel ? `${name} ${stage}` : `stage ${stage} convolution ${index}`, images, { side, channels });
        const { inputs, outputs } = convolution;
        // The gradient of a pooling or of the images has channels of its own; else two buffers of the stage take turns.
        const slot = (convolutions.length - index) % 2;
        const dx = gradient({ side, channels: inputs }, inputs === outputs ? slot : 2);
        const dy = gradient({ side, channels: outputs }, (slot + 1) % 2);
        tape.run(convolution, { images, side, x, y, dy, dx, activated });
        this.clear(r, images, stage, channels, y);
        dImages ??= dx;
        x = y;
        activated = true;
      }
      levels.push(x);
      const behind = this.levels[stage + 1];
      if (!behind) return { levels, dx: dImages };
      const half = { side: Math.floor(side / 2), channels };
      const pooled = this.maps(r, stage === last - 1 ? `${name} ${last}` : `pooling ${stage}`, images, half);
      tape.run(level, {
        ...{ images, side, channels, x, pooled },
        target: gradients?.targets[stage],
        coefficients: gradients?.coefficients[stage],
        // As its first convolution has it, or as the last level.
        dPooled: stage === last - 1 ? gradient(behind, 0) : this.#stageGradient(gradient, stage + 1),
        dx: gradient({ side, channels }, 0),
      });
      this.clear(r, images, stage + 1, channels, pooled);
      x = pooled;
      activated = false;
    }
    levels.push(x);
    const behind = { target: gradients?.targets[last], coefficients: gradients?.coefficients[last] };
    tape.run(level, { images, ...this.levels[last]!, x, ...behind, dx: gradient(this.levels[last]!, 0) });
    return { levels, dx: dImages };
  }

  /** Where the gradient of a stage's input is. */
  #stageGradient(gradient: (geometry: Geometry, slot: number) => View | undefined, stage: number): View | undefined {
    const [{ inputs, outputs }, ...rest] = this.#weights.convolutions[stage]! as [Convolution, ...Convolution[]];
    const { side } = this.levels[stage]!;
    return gradient({ side, channels: inputs }, inputs === outputs ? (rest.length + 1) % 2 : 2);
  }

  /** The network over the images in `input`, for its levels alone. */
  features(r: Recorder, images: number, name: string): View[] {
    return this.#run(new Tape(r), images, name).levels;
  }

  dispose(): void {
    this.#weights.dispose();
  }
}
