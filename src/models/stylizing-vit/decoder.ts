import { numbersOf, type View } from "../../gpu/view.js";
import { inputGradient, weightGradient } from "../../net/layers/adjoints.js";
import type { Recorder } from "../../net/recorder.js";
import type { Layer } from "../../net/tape.js";
import {
  convolutionGradient,
  convolutionGradientSlices,
  convolutionGradientStride,
  patchProductBackward,
} from "../../ops/decoder-backward.js";
import { convolution, patchProduct } from "../../ops/images.js";
import { layerNorm } from "../../ops/layer-norm.js";
import { layerNormBackward } from "../../ops/layer-norm-backward.js";
import { linear } from "../../ops/linear.js";
import { gelu, sumSlices } from "../../ops/rows.js";
import type { TrainedModel } from "./trained-model.js";

export interface DecoderWhere {
  images: number;
  /** Tokens of all images, f32, and their gradient, which is written. */
  x: View;
  dx: View;
  /** [images, C, S, S] f32, normalised. */
  decoded: View;
  dDecoded: View;
}

/** The encoder's last norm, the bottleneck, the patch product and the convolution. */
export class Decoder implements Layer<DecoderWhere> {
  readonly #model: TrainedModel;
  readonly #gradients: GPUBuffer;

  constructor(model: TrainedModel, gradients: GPUBuffer) {
    this.#model = model;
    this.#gradients = gradients;
  }

  #filter(images: number) {
    const { in_channels: channels, image_size: imageSize, post_process_conv_kernel_size: kernelSize } = this.#model.config;
    return { images, channels, imageSize, kernelSize };
  }

  #patches(images: number) {
    const { config, layout } = this.#model;
    const { channels, imageSize } = this.#filter(images);
    return { images, channels, imageSize, patchSize: config.patch_size, rank: layout.rank };
  }

  #normalize(r: Recorder, x: View): View {
    const normal = r.scratch("normal rows", x.rows, this.#model.layout.width, "elem");
    r.emit(layerNorm, { x, y: normal, width: this.#model.config.embed_dim });
    return normal;
  }

  /** What is kept of the forward pass. */
  #kept(r: Recorder, { images, x, decoded }: DecoderWhere) {
    const { width, bottleneck } = this.#model.layout;
    return {
      hidden: r.scratch("bottleneck hidden", x.rows, bottleneck, "elem"),
      tokens: r.scratch("tokens", x.rows, width, "elem"),
      product: r.scratch("product", 1, decoded.cols, "f32"),
      filter: this.#filter(images),
    };
  }

  #activate(r: Recorder, hidden: View): View {
    const activated = r.scratch("wide rows", hidden.rows, hidden.cols, "elem");
    r.emit(gelu, { x: hidden, y: activated });
    return activated;
  }

  forward(r: Recorder, where: DecoderWhere): void {
    const { bottleneck1: first, bottleneck2: second, filter: weight } = this.#model;
    const { hidden, tokens, product, filter } = this.#kept(r, where);
    const normal = this.#normalize(r, where.x);
    r.section("GEMM", () => r.emit(linear, { x: normal, w: first.forward, bias: first.bias, y: hidden }));
    const activated = this.#activate(r, hidden);
    r.section("GEMM", () => r.emit(linear, { x: activated, w: second.forward, bias: second.bias, y: tokens }));
    r.emit(patchProduct, { ...this.#patches(where.images), tokens, image: product.buffer });
    r.emit(convolution, { ...filter, input: product.buffer, weight: weight.buffer, output: where.decoded.buffer });
  }

  backward(r: Recorder, where: DecoderWhere): void {
    const { x, dx, dDecoded, images } = where;
    const { bottleneck1: first, bottleneck2: second, filter: weight, places, config } = this.#model;
    const { hidden, tokens, product, filter } = this.#kept(r, where);
    const [slices, count] = [convolutionGradientSlices(filter), convolutionGradientStride(filter)];
    const partials = r.scratch("filter gradients", slices, count, "f32");
    r.emit(convolutionGradient, { ...filter, input: product, dOutput: dDecoded, partials });
    const dFilter = numbersOf(this.#gradients, count, places.convolution);
    r.emit(sumSlices, { x: partials, y: dFilter, accumulate: true });
    const dProduct = r.scratch("product gradient", 1, product.cols, "f32");
    const buffers = { input: dDecoded.buffer, weight: weight.buffer, output: dProduct.buffer };
    r.emit(convolution, { ...filter, flipped: true, ...buffers });
    const dTokens = r.scratch("narrow gradient", tokens.rows, tokens.cols, "elem");
    r.emit(patchProductBackward, { ...this.#patches(images), dImage: dProduct, tokens, dTokens });
    const activated = this.#activate(r, hidden);
    weightGradient(r, this.#gradients, second.linear.parts[0]!, dTokens, activated);
    const dHidden = r.scratch("wide gradient", hidden.rows, hidden.cols, "elem");
    inputGradient(r, second, dTokens, dHidden, { at: hidden });
    const normal = this.#normalize(r, x);
    weightGradient(r, this.#gradients, first.linear.parts[0]!, dHidden, normal);
    const dNormal = r.scratch("narrow gradient", normal.rows, normal.cols, "elem");
    inputGradient(r, first, dHidden, dNormal);
    r.emit(layerNormBackward, { x, dy: dNormal, dx, width: config.embed_dim, accumulate: false });
  }
}
