import {
  attentionBackwardContextParameters,
  attentionBackwardQueryParameters,
  planAttentionBackwardContext,
  planAttentionBackwardQuery,
} from "../ops/attention-backward.js";
import {
  convolutionGradientParameters,
  convolutionGradientSlices,
  convolutionGradientStride,
  patchProductBackwardParameters,
  planConvolutionGradient,
  planPatchProductBackward,
} from "../ops/decoder-backward.js";
import { mapsToPlanesParameters, planesToMapsParameters, planMapsToPlanes, planPlanesToMaps } from "../ops/features.js";
import { convolutionParameters, planConvolution } from "../ops/images.js";
import { layerNormBackwardParameters, planLayerNormBackward } from "../ops/layer-norm-backward.js";
import {
  consistencyLossParameters,
  pixelLossParameters,
  planConsistencyLoss,
  planPixelLoss,
  planStylizedLoss,
  stylizedLossParameters,
} from "../ops/losses.js";
import {
  addRowsParameters,
  narrowParameters,
  planAddRows,
  planNarrow,
  planSumRows,
  planSumSlices,
  planTranspose,
  type Source,
  sumRowsParameters,
  sumSlicesParameters,
  transposeParameters,
} from "../ops/rows.js";
import type { Folded } from "./buffers.js";
import { ForwardPass, type Rows } from "./forward.js";

/** And its losses, and the way back to the gradients of all parameters. */
export class TrainingPass extends ForwardPass {
  /** Planes of `images` pictures from the `first` on, as VGG-19's pictures. */
  #picture(planes: GPUBuffer, first: number, images: number): void {
    const { channels, imageSize: side } = this.image;
    const shape = { images, side, channels };
    this.steps.share = "vgg";
    this.steps.add(
      planPlanesToMaps(shape, this.profile),
      [planes, this.buffers.maps.picture],
      planesToMapsParameters(shape, { inputOffset: first * channels * side ** 2 }),
    );
  }

  /** The four terms; with `backward` also the gradient of their weighted sum at the decodings. */
  losses(backward: boolean): void {
    const { planes, decoded, losses, options } = this.buffers;
    const { vgg, maps, levels, scratch } = this.buffers;
    const { uniques, pairs, styles, counts, batch } = this.shape;
    const scale = options.lossScale;
    const { identity, consistency, anatomical, style } = options.weights;
    const partials = this.buffers.partials(this.shape);
    const countBuffer = this.upload(Float32Array.from(counts));
    const styleBuffer = this.upload(Uint32Array.from(styles));

    this.#picture(planes, 0, uniques);
    vgg.forward(this.steps, maps, uniques, levels.targets);
    vgg.statistics(this.steps, levels.targets, uniques, levels.statistics);

    const pixel = { images: uniques, ...this.image };
    this.steps.share = "rest";
    this.steps.add(
      planPixelLoss(pixel, this.profile),
      [planes, decoded, countBuffer, scratch.decodedGradient, scratch.partials],
      pixelLossParameters(pixel, { batch, weight: identity * scale }),
    );

    this.#picture(decoded, 0, uniques);
    vgg.forward(this.steps, maps, uniques);
    for (const [level, geometry] of vgg.levels.entries()) {
      const shape = { images: uniques, ...geometry };
      this.steps.add(
        planConsistencyLoss(shape, this.profile),
        [vgg.levelsOf(maps)[level]!, levels.targets[level]!, countBuffer, levels.coefficients[level]!, scratch.partials],
        consistencyLossParameters(
          shape,
          { batch, weight: consistency * scale },
          { partialsOffset: partials.consistency[level]! },
        ),
      );
    }
    if (backward) this.#pictureGradient(0, uniques, true);

    this.#picture(decoded, uniques, pairs);
    vgg.forward(this.steps, maps, pairs);
    for (const [level, geometry] of vgg.levels.entries()) {
      const shape = { images: pairs, ...geometry };
      this.steps.add(
        planStylizedLoss(shape, this.profile),
        [
          vgg.levelsOf(maps)[level]!,
          levels.targets[level]!,
          levels.statistics[level]!,
          styleBuffer,
          levels.coefficients[level]!,
          scratch.partials,
        ],
        stylizedLossParameters(
          shape,
          { batch, anatomicalWeight: anatomical * scale, styleWeight: style * scale },
          { anatomicalOffset: partials.anatomical[level]!, styleOffset: partials.style[level]! },
        ),
      );
    }
    if (backward) this.#pictureGradient(uniques, pairs, false);

    this.steps.share = "rest";
    for (const [term, [from, to]] of partials.terms.entries()) {
      const shape = { rows: 1, cols: to - from, source: "f32" as const };
      this.steps.add(
        planSumRows(shape, this.profile),
        [scratch.partials, losses],
        sumRowsParameters(shape, { inputOffset: from, inputStride: shape.cols, outputOffset: term, accumulate: true }),
      );
    }
  }

  /** VGG-19's way back, to the decodings of `images` pictures from the `first` on. */
  #pictureGradient(first: number, images: number, accumulate: boolean): void {
    const { vgg, maps, levels, scratch } = this.buffers;
    const { uniques, pairs } = this.buffers.options;
    const gradient = vgg.backward(this.steps, maps, images, levels, Math.max(uniques, pairs));
    const { channels, imageSize: side } = this.image;
    const shape = { images, side, channels, accumulate };
    this.steps.add(
      planMapsToPlanes(shape, this.profile),
      [gradient, scratch.decodedGradient],
      mapsToPlanesParameters(shape, { outputOffset: first * channels * side ** 2 }),
    );
  }

  /** Adds to a matrix' gradient: Σ over rows of gradient ⊗ input, and to its bias'. */
  #weightGradient(
    rows: number,
    linear: { weight: number; bias?: number; rows: number; cols: number },
    gradient: Rows & { source: Source; column?: number; stride?: number },
    input: Rows,
  ): void {
    const { gradients } = this.buffers;
    const { turned, slices: partial } = this.buffers.scratch;
    const { rows: outputs, cols: inputs } = linear;
    const { slices, each } = this.buffers.slicesOf(rows, outputs, inputs);
    const stride = gradient.stride ?? outputs;
    const turn = { rows, paddedRows: slices * each, cols: outputs, source: gradient.source };
    this.steps.share = "rest";
    this.steps.add(
      planTranspose(turn, this.profile),
      [gradient.buffer, turned],
      transposeParameters(turn, { inputOffset: (gradient.first ?? 0) * stride + (gradient.column ?? 0), inputStride: stride }),
    );
    if (linear.bias !== undefined) {
      const sum = { rows: outputs, cols: turn.paddedRows, source: "elem" as const };
      this.steps.add(
        planSumRows(sum, this.profile),
        [turned, gradients],
        sumRowsParameters(sum, { inputStride: sum.cols, outputOffset: linear.bias, accumulate: true }),
      );
    }
    this.steps.share = "products";
    const whole = slices === 1;
    this.steps.linear(
      { rows: outputs, depth: each, cols: inputs, epilogue: whole ? "residual" : "none", result: "f32", slices },
      { input: turned, weight: input.buffer, output: whole ? gradients : partial },
      {
        inputStride: turn.paddedRows,
        weightColumn: (input.first ?? 0) * inputs,
        weightStride: inputs,
        outputOffset: whole ? linear.weight : 0,
        outputStride: inputs,
        inputSlice: each,
        weightSlice: each * inputs,
        outputSlice: outputs * inputs,
      },
    );
    if (whole) return;
    const sum = { slices, count: outputs * inputs };
    this.steps.share = "rest";
    this.steps.add(
      planSumSlices(sum, this.profile),
      [partial, gradients],
      sumSlicesParameters(sum, { sliceStride: sum.count, outputOffset: linear.weight, accumulate: true }),
    );
  }

  /** Gradient of a linear layer's input from that of outputs [firstOutput, firstOutput + outputs). */
  #inputGradient(
    rows: number,
    { linear, backward }: Folded,
    gradient: Rows & { column?: number; stride?: number },
    output: Rows,
    more: { firstOutput?: number; outputs?: number; activations?: Rows } = {},
  ): void {
    const { firstOutput = 0, outputs = linear.rows, activations } = more;
    const stride = gradient.stride ?? outputs;
    this.steps.share = "products";
    this.steps.linear(
      { rows, depth: outputs, cols: linear.cols, epilogue: activations ? "gelu_derivative" : "none", result: "elem" },
      {
        input: gradient.buffer,
        weight: backward,
        output: output.buffer,
        ...(activations ? { table: activations.buffer } : {}),
      },
      {
        inputOffset: (gradient.first ?? 0) * stride + (gradient.column ?? 0),
        inputStride: stride,
        weightColumn: firstOutput * linear.cols,
        weightStride: linear.cols,
        outputOffset: (output.first ?? 0) * linear.cols,
        outputStride: linear.cols,
        ...(activations ? { tableOffset: (activations.first ?? 0) * linear.cols } : {}),
      },
    );
  }

  /** Rows of the residual gradient as an operand of products. */
  #residualGradient(rows: number, first: number): Rows {
    const { gradient, narrowed } = this.buffers.scratch;
    if (this.profile.elementBytes === 4) return { buffer: gradient, first };
    const { width } = this.buffers.layout;
    this.steps.share = "rest";
    this.steps.add(planNarrow(rows * width, this.profile), [gradient, narrowed], narrowParameters(rows * width, first * width));
    return { buffer: narrowed };
  }

  /** LayerNorm's way back: from `narrowGradient`'s rows to those of the residual gradient at `to`. */
  #normalizeBackward(rows: number, input: Rows, from: number, to: number, accumulate: boolean): void {
    const { width } = this.buffers.layout;
    const { narrowGradient, gradient } = this.buffers.scratch;
    const shape = { rows, width: this.buffers.config.embed_dim };
    this.steps.share = "rest";
    this.steps.add(
      planLayerNormBackward(shape, this.profile),
      [input.buffer, narrowGradient, gradient],
      layerNormBackwardParameters(shape, {
        inputOffset: (input.first ?? 0) * width,
        inputStride: width,
        upstreamOffset: from * width,
        upstreamStride: width,
        gradientOffset: to * width,
        gradientStride: width,
        accumulate,
      }),
    );
  }

  /** x + fc2(GELU(fc1(norm(x)))), from the residual gradient's rows at `first` and into them. */
  #mlpBackward(layer: number, rows: number, residual: GPUBuffer, hiddenRows: GPUBuffer, first: number): void {
    const { hidden } = this.buffers.layout;
    const { scratch, layers } = this.buffers;
    const { fc1, fc2 } = layers[layer]!;
    this.gelu(rows, hidden, { buffer: hiddenRows }, scratch.wide);
    this.#weightGradient(rows, fc2.linear, { buffer: scratch.gradient, first, source: "f32" }, { buffer: scratch.wide });
    this.#inputGradient(
      rows,
      fc2,
      this.#residualGradient(rows, first),
      { buffer: scratch.wideGradient },
      { activations: { buffer: hiddenRows } },
    );
    this.normalize(rows, { buffer: residual });
    this.#weightGradient(rows, fc1.linear, { buffer: scratch.wideGradient, source: "elem" }, { buffer: scratch.normal });
    this.#inputGradient(rows, fc1, { buffer: scratch.wideGradient }, { buffer: scratch.narrowGradient });
    this.#normalizeBackward(rows, { buffer: residual }, 0, first, true);
  }

  /** Output projection and attention: from the residual gradient's rows at `first` to those of query, key and value. */
  #attentionBackward(
    layer: number,
    rows: number,
    first: number,
    { qkv, attended }: { qkv: GPUBuffer; attended: GPUBuffer },
    index: { sequences: GPUBuffer; readers: GPUBuffer; sequenceCount: number; contexts: number },
  ): void {
    const { config } = this.buffers;
    const { scratch, layers } = this.buffers;
    const { out } = layers[layer]!;
    this.#weightGradient(rows, out.linear, { buffer: scratch.gradient, first, source: "f32" }, { buffer: attended });
    this.#inputGradient(rows, out, this.#residualGradient(rows, first), { buffer: scratch.narrowGradient });
    this.steps.share = "attention";
    const placement = this.attentionPlacement;
    const shape = { ...this.attentionShape(index.sequenceCount), contexts: index.contexts };
    this.steps.add(
      planAttentionBackwardQuery(shape, this.profile),
      [qkv, qkv, index.sequences, attended, scratch.narrowGradient, scratch.qkvGradient, scratch.statistics],
      attentionBackwardQueryParameters(shape, {
        ...placement,
        queryGradientStride: placement.queryStride,
        scale: 1 / Math.sqrt(config.embed_dim / config.num_heads),
      }),
    );
    this.steps.add(
      planAttentionBackwardContext(shape, this.profile),
      [qkv, qkv, index.sequences, index.readers, scratch.narrowGradient, scratch.statistics, scratch.qkvGradient],
      attentionBackwardContextParameters(shape, {
        ...placement,
        keyGradientColumn: placement.keyColumn,
        valueGradientColumn: placement.valueColumn,
        contextGradientStride: placement.contextStride,
      }),
    );
  }

  /** From the gradients at the decodings to those of all parameters, folded. */
  backward(): void {
    const { config, layout } = this.buffers;
    const { pairs, uniques } = this.shape;
    const { width, attention, tokens } = layout;
    const { scratch, inputs, kept, layers, patches } = this.buffers;
    const wide = 3 * attention;
    this.#decodeBackward();

    for (let layer = config.depth - 1; layer >= 0; layer--) {
      const keep = kept[layer]!;
      const { qkv } = layers[layer]!;
      const [query, context] = this.buffers.parts(layer);
      if (this.buffers.options.recompute) this.layer(layer, true);
      if (layer < config.depth - 1) {
        // Q' = blk(S'[content], Z). Its rows of the gradient become those of Z.
        this.#mlpBackward(layer, this.query, keep.queryResidual, keep.queryHidden, this.own);
        this.#attentionBackward(
          layer,
          this.query,
          this.own,
          { qkv: keep.queryQkv, attended: keep.queryAttended },
          { sequences: this.querySequences, readers: this.queryReaders, sequenceCount: pairs, contexts: pairs },
        );
        const count = this.query * width;
        this.steps.share = "rest";
        this.steps.add(
          planAddRows(count, this.profile),
          [scratch.gradient],
          addRowsParameters(count, { from: this.own * width, to: 0 }),
        );
        const content = { buffer: inputs[layer + 1]! };
        this.normalize(this.query, content);
        const queries = { buffer: scratch.qkvGradient, stride: wide };
        this.#weightGradient(this.query, query, { ...queries, source: "elem" }, { buffer: scratch.normal });
        this.#inputGradient(this.query, qkv, queries, { buffer: scratch.narrowGradient }, { outputs: attention });
        this.#normalizeBackward(this.query, content, 0, 0, true);
        const stylized = { buffer: keep.stylized };
        this.normalize(this.query, stylized);
        const contexts = { ...queries, column: attention };
        this.#weightGradient(this.query, context, { ...contexts, source: "elem" }, { buffer: scratch.normal });
        this.#inputGradient(
          this.query,
          qkv,
          contexts,
          { buffer: scratch.narrowGradient },
          { firstOutput: attention, outputs: 2 * attention },
        );
        this.#normalizeBackward(this.query, stylized, 0, this.own, false);
      }

      // S' = blk(S, S) and Z = blk(Q, S[style]).
      this.#mlpBackward(layer, this.all, keep.residual, keep.hidden, 0);
      this.#attentionBackward(layer, this.all, 0, keep, {
        sequences: this.sequences,
        readers: this.readers,
        sequenceCount: uniques + pairs,
        contexts: uniques,
      });
      const input = { buffer: inputs[layer]! };
      this.normalize(this.all, input);
      const rows = { buffer: scratch.qkvGradient, stride: wide };
      this.#weightGradient(this.all, query, { ...rows, source: "elem" }, { buffer: scratch.normal });
      this.#weightGradient(this.own, context, { ...rows, column: attention, source: "elem" }, { buffer: scratch.normal });
      this.#inputGradient(this.own, qkv, rows, { buffer: scratch.narrowGradient });
      this.#inputGradient(
        this.query,
        qkv,
        { ...rows, first: this.own },
        { buffer: scratch.narrowGradient, first: this.own },
        { outputs: attention },
      );
      this.#normalizeBackward(this.all, input, 0, 0, true);
    }

    // The query began as its content.
    const { gradients, places } = this.buffers;
    const count = this.query * width;
    this.steps.share = "rest";
    this.steps.add(
      planAddRows(count, this.profile),
      [scratch.gradient],
      addRowsParameters(count, { from: this.own * width, to: 0 }),
    );
    const sum = (
      slices: number,
      length: number,
      input: GPUBuffer,
      from: number,
      output: GPUBuffer,
      to: number,
      accumulate: boolean,
    ) => {
      const shape = { slices, count: length };
      this.steps.add(
        planSumSlices(shape, this.profile),
        [input, output],
        sumSlicesParameters(shape, { inputOffset: from, sliceStride: length, outputOffset: to, accumulate }),
      );
    };
    sum(uniques, tokens * width, scratch.gradient, 0, scratch.tableGradient, 0, false);
    sum(1, tokens * width, scratch.tableGradient, 0, gradients, places.position, true);
    sum(1, width, scratch.tableGradient, 0, gradients, places.cls, true);
    sum(tokens - 1, width, scratch.tableGradient, width, gradients, places.embed.bias, true);
    const { weight, rows, cols } = places.embed;
    this.#weightGradient(this.own, { weight, rows, cols }, { buffer: scratch.gradient, source: "f32" }, { buffer: patches });
  }

  #decodeBackward(): void {
    const { config, layout, gradients, places } = this.buffers;
    const { scratch, product, tokens, bottleneck1, bottleneck2, bottleneckHidden, inputs } = this.buffers;
    const filter = this.filterShape;
    this.steps.share = "rest";
    this.steps.add(
      planConvolutionGradient(filter, this.profile),
      [product, scratch.decodedGradient, scratch.filterGradients],
      convolutionGradientParameters(filter),
    );
    const sum = { slices: convolutionGradientSlices(filter), count: convolutionGradientStride(filter) };
    this.steps.add(
      planSumSlices(sum, this.profile),
      [scratch.filterGradients, gradients],
      sumSlicesParameters(sum, { sliceStride: sum.count, outputOffset: places.convolution, accumulate: true }),
    );
    const flipped = { ...filter, flipped: true };
    this.steps.add(
      planConvolution(flipped, this.profile),
      [scratch.decodedGradient, scratch.filter, scratch.productGradient],
      convolutionParameters(flipped),
    );
    this.steps.add(
      planPatchProductBackward(this.patchShape, this.profile),
      [scratch.productGradient, tokens, scratch.narrowGradient],
      patchProductBackwardParameters(this.patchShape),
    );
    this.gelu(this.all, layout.bottleneck, { buffer: bottleneckHidden }, scratch.wide);
    this.#weightGradient(
      this.all,
      bottleneck2.linear,
      { buffer: scratch.narrowGradient, source: "elem" },
      { buffer: scratch.wide },
    );
    this.#inputGradient(
      this.all,
      bottleneck2,
      { buffer: scratch.narrowGradient },
      { buffer: scratch.wideGradient },
      { activations: { buffer: bottleneckHidden } },
    );
    const last = { buffer: inputs[config.depth]! };
    this.normalize(this.all, last);
    this.#weightGradient(
      this.all,
      bottleneck1.linear,
      { buffer: scratch.wideGradient, source: "elem" },
      { buffer: scratch.normal },
    );
    this.#inputGradient(this.all, bottleneck1, { buffer: scratch.wideGradient }, { buffer: scratch.narrowGradient });
    this.#normalizeBackward(this.all, last, 0, 0, false);
  }
}
