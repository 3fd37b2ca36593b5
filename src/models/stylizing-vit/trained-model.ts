import type { Gpu } from "../../gpu/gpu.js";
import { numbersOf, type View, view } from "../../gpu/view.js";
import { foldedLinear, foldLinear, type TrainedLinear, unfoldLinear } from "../../net/folding.js";
import type { Recorder } from "../../net/recorder.js";
import { convolutionGradientStride } from "../../ops/decoder-backward.js";
import { sumSlices } from "../../ops/rows.js";
import { positionTable } from "../../ops/weights.js";
import type { FlatArrays } from "../task.js";
import type { Vgg } from "../vgg/features.js";
import type { ModelConfig } from "./config.js";
import { type Layout, layoutOf, type ModelParameters, modelParameters } from "./parameters.js";

export interface TrainedBlock {
  qkv: TrainedLinear;
  out: TrainedLinear;
  fc1: TrainedLinear;
  fc2: TrainedLinear;
}

/** A model whose folded matrices are made anew every step, and the frozen network that its losses look through. */
export class TrainedModel {
  readonly config: ModelConfig;
  readonly layout: Layout;
  readonly places: ModelParameters;
  readonly features: Vgg;
  readonly embed: TrainedLinear;
  /** [tokens, width] f32: CLS + position in row 0, bias + position in the others. */
  readonly table: View;
  readonly layers: readonly TrainedBlock[];
  readonly bottleneck1: TrainedLinear;
  readonly bottleneck2: TrainedLinear;
  readonly filter: View;
  readonly #gpu: Gpu;
  readonly #buffers: GPUBuffer[] = [];

  /** @throws StylizingError `GPU` where a buffer exceeds the device's limits; nothing stays allocated then */
  constructor(gpu: Gpu, config: ModelConfig, features: Vgg) {
    this.#gpu = gpu;
    this.config = config;
    this.features = features;
    this.layout = layoutOf(config);
    this.places = modelParameters(config);
    const { tokens, width } = this.layout;
    const { embed, layers, bottleneck1, bottleneck2 } = this.places;
    const folded = (linear: ModelParameters["embed"]) => foldedLinear(gpu, linear, this.#buffers);
    try {
      this.embed = folded(embed);
      this.layers = layers.map(({ qkv, out, fc1, fc2 }) => ({
        qkv: folded(qkv),
        out: folded(out),
        fc1: folded(fc1),
        fc2: folded(fc2),
      }));
      this.bottleneck1 = folded(bottleneck1);
      this.bottleneck2 = folded(bottleneck2);
      const table = gpu.storage("position table", 4 * tokens * width);
      this.#buffers.push(table);
      this.table = view(table, "f32", tokens, width);
      const count = convolutionGradientStride({
        channels: config.in_channels,
        kernelSize: config.post_process_conv_kernel_size,
      });
      const filter = gpu.storage("filter", 4 * count);
      this.#buffers.push(filter);
      this.filter = numbersOf(filter, count);
    } catch (error) {
      gpu.release(...this.#buffers);
      throw error;
    }
  }

  /** All linear layers, in the order in which they are folded. */
  get #linears(): TrainedLinear[] {
    const blocks = this.layers.flatMap(({ qkv, out, fc1, fc2 }) => [qkv, out, fc1, fc2]);
    return [this.embed, ...blocks, this.bottleneck1, this.bottleneck2];
  }

  fold(r: Recorder, { parameters }: FlatArrays): void {
    for (const linear of this.#linears) foldLinear(r, parameters, linear);
    const { position, cls, embed, convolution } = this.places;
    r.emit(positionTable, { parameters, table: this.table, position, cls, bias: embed.bias });
    r.emit(sumSlices, { x: numbersOf(parameters, this.filter.cols, convolution), y: this.filter, accumulate: false });
  }

  unfold(r: Recorder, { parameters, gradients }: FlatArrays): void {
    for (const linear of this.#linears) unfoldLinear(r, parameters, gradients, linear);
  }

  dispose(): void {
    this.#gpu.release(...this.#buffers);
    this.features.dispose();
  }
}
