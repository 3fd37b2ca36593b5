import type { Gpu } from "../../gpu/gpu.js";
import { type View, view } from "../../gpu/view.js";
import { foldedLinear, foldLinear, type TrainedLinear, unfoldLinear } from "../../net/folding.js";
import type { Recorder } from "../../net/recorder.js";
import { positionTable } from "../../ops/weights.js";
import type { FlatArrays } from "../task.js";
import type { VitConfig } from "./config.js";
import { type VitLayout, type VitParameters, vitLayout, vitParameters } from "./parameters.js";

export interface TrainedVitBlock {
  qkv: TrainedLinear;
  out: TrainedLinear;
  fc1: TrainedLinear;
  fc2: TrainedLinear;
}

/** A classifier whose folded matrices are made anew every step. */
export class TrainedVit {
  readonly config: VitConfig;
  readonly layout: VitLayout;
  readonly places: VitParameters;
  readonly embed: TrainedLinear;
  /** [tokens, width] f32: CLS + position in row 0, bias + position in the others. */
  readonly table: View;
  readonly layers: readonly TrainedVitBlock[];
  readonly head: TrainedLinear;
  readonly #gpu: Gpu;
  readonly #buffers: GPUBuffer[] = [];

  /** @throws StylizingError `GPU` where a buffer exceeds the device's limits; nothing stays allocated then */
  constructor(gpu: Gpu, config: VitConfig) {
    this.#gpu = gpu;
    this.config = config;
    this.layout = vitLayout(config);
    this.places = vitParameters(config);
    const { embed, layers, head } = this.places;
    const folded = (linear: VitParameters["embed"]) => foldedLinear(gpu, linear, this.#buffers);
    try {
      this.embed = folded(embed);
      this.layers = layers.map(({ qkv, out, fc1, fc2 }) => ({
        qkv: folded(qkv),
        out: folded(out),
        fc1: folded(fc1),
        fc2: folded(fc2),
      }));
      this.head = folded(head!);
      const { tokens, width } = this.layout;
      const table = gpu.storage("position table", 4 * tokens * width);
      this.#buffers.push(table);
      this.table = view(table, "f32", tokens, width);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** All linear layers, in the order in which they are folded. */
  get #linears(): TrainedLinear[] {
    return [this.embed, ...this.layers.flatMap(({ qkv, out, fc1, fc2 }) => [qkv, out, fc1, fc2]), this.head];
  }

  fold(r: Recorder, { parameters }: FlatArrays): void {
    for (const linear of this.#linears) foldLinear(r, parameters, linear);
    const { position, cls, embed } = this.places;
    r.emit(positionTable, { parameters, table: this.table, position, cls, bias: embed.bias });
  }

  unfold(r: Recorder, { parameters, gradients }: FlatArrays): void {
    for (const linear of this.#linears) unfoldLinear(r, parameters, gradients, linear);
  }

  dispose(): void {
    this.#gpu.release(...this.#buffers);
  }
}
