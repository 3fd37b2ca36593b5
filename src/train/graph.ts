import { convolutionGradientStride } from "../ops/decoder-backward.js";
import { planSumSlices, sumSlicesParameters } from "../ops/rows.js";
import {
  foldBiasParameters,
  foldMatrixParameters,
  planFoldBias,
  planFoldMatrix,
  planPositionTable,
  planUnfold,
  positionTableParameters,
  unfoldParameters,
} from "../ops/weights.js";
import { TrainingPass } from "./backward.js";
import type { BatchShape } from "./batch-shape.js";
import type { Folded, TrainingBuffers } from "./buffers.js";
import type { TrainedLinear } from "./parameters.js";
import { type BoundSteps, StepList } from "./steps.js";

/** The schedules of a training step over its buffers: folding weights, a batch of pairs, unfolding gradients. */
export class TrainingGraph {
  readonly buffers: TrainingBuffers;

  constructor(buffers: TrainingBuffers) {
    this.buffers = buffers;
  }

  /** Weights as the products want them: once a step, before its pairs. */
  fold(): Promise<BoundSteps> {
    const { profile } = this.buffers.gpu;
    const steps = new StepList(this.buffers.gpu);
    const { places, layout, config } = this.buffers;
    const one = (folded: Folded, part: TrainedLinear, factor = 1, first = 0) => {
      steps.add(
        planFoldMatrix(part),
        [this.buffers.parameters, folded.forward, folded.backward],
        foldMatrixParameters(part, part, { factor, column: first, stride: folded.linear.rows }),
      );
      steps.add(
        planFoldBias(part, profile),
        [this.buffers.parameters, folded.bias],
        foldBiasParameters(part, part, { factor, first }),
      );
    };
    one(this.buffers.embed, places.embed);
    for (const [index, layer] of places.layers.entries()) {
      const folded = this.buffers.layers[index]!;
      const [query, context] = this.buffers.parts(index);
      one(folded.qkv, query, 1 / Math.sqrt(config.embed_dim / config.num_heads));
      one(folded.qkv, context, 1, layout.attention);
      one(folded.out, layer.out);
      one(folded.fc1, layer.fc1);
      one(folded.fc2, layer.fc2);
    }
    one(this.buffers.bottleneck1, places.bottleneck1);
    one(this.buffers.bottleneck2, places.bottleneck2);
    const table = { tokens: layout.tokens, width: layout.width };
    steps.add(
      planPositionTable(table, profile),
      [this.buffers.parameters, this.buffers.table],
      positionTableParameters(table, { position: places.position, cls: places.cls, bias: places.embed.bias }),
    );
    const filter = {
      slices: 1,
      count: convolutionGradientStride({ channels: config.in_channels, kernelSize: config.post_process_conv_kernel_size }),
    };
    steps.add(
      planSumSlices(filter, profile),
      [this.buffers.parameters, this.buffers.scratch.filter],
      sumSlicesParameters(filter, { inputOffset: places.convolution, sliceStride: filter.count }),
    );
    return steps.finish("fold");
  }

  /** Gradients of folded matrices to those of the parameters: once a step, behind its pairs. */
  unfold(): Promise<BoundSteps> {
    const { profile } = this.buffers.gpu;
    const steps = new StepList(this.buffers.gpu);
    const one = (part: TrainedLinear) =>
      steps.add(planUnfold(part, profile), [this.buffers.parameters, this.buffers.gradients], unfoldParameters(part, part));
    for (const [index, { fc1 }] of this.buffers.places.layers.entries()) {
      for (const part of this.buffers.parts(index)) one(part);
      one(fc1);
    }
    one(this.buffers.places.bottleneck1);
    return steps.finish("unfold");
  }

  /** Ranges of the flat arrays whose gradients unfolding needs and the optimiser must not see: biases that a configuration lacks. */
  get absent(): readonly { offset: number; count: number }[] {
    if (this.buffers.config.qkv_bias) return [];
    return this.buffers.places.layers.map(({ qkv }) => ({ offset: qkv.bias, count: qkv.rows }));
  }

  /** Binds a batch: forward passes and losses, and with `backward` the gradients, which are added to those that are there. */
  async bind(shape: BatchShape, input: "bytes" | "planes", backward: boolean): Promise<BoundSteps & { dispose(): void }> {
    const builder = new TrainingPass(this.buffers, shape, input);
    builder.forward();
    builder.losses(backward);
    if (backward) builder.backward();
    else builder.quantize();
    const bound = await builder.steps.finish("training");
    return {
      ...bound,
      dispose: () => {
        bound.schedule.dispose();
        this.buffers.gpu.release(...builder.indices);
      },
    };
  }
}
