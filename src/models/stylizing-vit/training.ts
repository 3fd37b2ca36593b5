import { columnsOf, numbersOf, rowsOf, type View } from "../../gpu/view.js";
import { FeatureLoss, type FeatureNetwork, showImages } from "../../losses/feature-loss.js";
import { PartialSums } from "../../losses/terms.js";
import { type AttentionIndex, AttentionOut } from "../../net/layers/attention-out.js";
import { Mlp } from "../../net/layers/mlp.js";
import { NormLinear } from "../../net/layers/norm-linear.js";
import { PatchEmbedding } from "../../net/layers/patch-embedding.js";
import type { Recorder } from "../../net/recorder.js";
import { Tape } from "../../net/tape.js";
import { NO_READER } from "../../ops/attention-backward.js";
import { featureStatistics, normalizePixels, statisticsElements } from "../../ops/features.js";
import { quantize } from "../../ops/images.js";
import {
  coefficientsElements,
  consistencyLoss,
  featurePartials,
  PIXEL_LOSS_SLICES,
  pixelLoss,
  stylizedLoss,
} from "../../ops/losses.js";
import type { FlatArrays } from "../task.js";
import type { BatchShape } from "./batch-shape.js";
import { Decoder } from "./decoder.js";
import type { LossName } from "./losses.js";
import type { TrainedModel } from "./trained-model.js";

/** What a batch of pairs comes to, as a forward description on a tape; see batch-shape.ts for what it shares between pairs. */
export class Training {
  readonly #r: Recorder;
  readonly #model: TrainedModel;
  readonly #flat: FlatArrays;
  readonly #shape: BatchShape;
  readonly #recompute: boolean;
  /** Rows of S, of Q and of both. */
  readonly #own: number;
  readonly #query: number;
  readonly #all: number;
  readonly #image: { channels: number; imageSize: number };

  constructor(r: Recorder, model: TrainedModel, flat: FlatArrays, shape: BatchShape, recompute: boolean) {
    this.#r = r;
    this.#model = model;
    this.#flat = flat;
    this.#shape = shape;
    this.#recompute = recompute;
    const { tokens } = model.layout;
    this.#own = shape.uniques * tokens;
    this.#query = shape.pairs * tokens;
    this.#all = this.#own + this.#query;
    this.#image = { channels: model.config.in_channels, imageSize: model.config.image_size };
  }

  /** `images` images as planes. */
  #planes(name: string, images: number): View {
    const { channels, imageSize } = this.#image;
    return this.#r.scratch(name, 1, images * channels * imageSize ** 2, "f32");
  }

  #planesFrom(planes: View, image: number): View {
    const { channels, imageSize } = this.#image;
    return { ...planes, first: image * channels * imageSize ** 2 };
  }

  /** Rows of the residual stream, [S | Q] in front of a layer, and of its gradient. */
  #residual(name: string, rows = this.#all): View {
    return this.#r.scratch(name, rows, this.#model.layout.width, "f32");
  }

  /** The forward pass and its losses; with `backward` also the gradients of all folded matrices. */
  record(input: "bytes" | "planes", weights: Readonly<Record<LossName, number>>, scale: number, backward: boolean): void {
    const { config } = this.#model;
    const { uniques, pairs } = this.#shape;
    const r = this.#r;
    const tape = new Tape(r);
    const planes = this.#planes("planes", uniques);
    const normalization = { mean: config.mean ?? [], std: config.std ?? [] };
    if (input === "bytes") {
      const { channels, imageSize } = this.#image;
      const pixels = r.scratch("pixels", 1, Math.ceil((uniques * channels * imageSize ** 2) / 4), "f32").buffer;
      r.emit(normalizePixels, { images: uniques, ...this.#image, pixels, planes, normalization });
    }
    const [first, gradient] = [this.#residual("input 0"), this.#residual("gradient rows")];
    const rows = (all: View) => ({ own: rowsOf(all, 0, this.#own), query: rowsOf(all, this.#own) });
    tape.run(this.#embedding(), {
      ...{ images: uniques, ...this.#image, pixels: planes.buffer, format: "planes", normalization },
      y: rows(first).own,
      dy: rows(gradient).own,
      // The query begins as its content: the first images' rows.
      copies: [{ y: rows(first).query, dy: rows(gradient).query }],
    });
    const self = this.#selfIndex();
    const crossed = this.#crossedIndex();
    for (let layer = 0; layer < config.depth; layer++) {
      const body = () => this.#layer(tape, layer, self, crossed);
      if (this.#recompute) tape.checkpoint(body);
      else body();
    }
    const decoded = this.#planes("decoded", uniques + pairs);
    const decodedGradient = this.#planes("decoded gradient", uniques + pairs);
    tape.run(new Decoder(this.#model, this.#flat.gradients), {
      ...{ images: uniques + pairs, x: this.#residual(`input ${config.depth}`), dx: gradient },
      ...{ decoded, dDecoded: decodedGradient },
    });
    this.#losses(tape, { planes, decoded, decodedGradient }, weights, scale, backward);
    if (backward) tape.backward();
    else if (config.mean && config.std) {
      const numbers = (uniques + pairs) * this.#image.channels * this.#image.imageSize ** 2;
      const pixels = r.scratch("decoded bytes", 1, Math.ceil(numbers / 4), "f32").buffer;
      const { mean, std } = config;
      const shape = { images: uniques + pairs, ...this.#image, format: "bytes" as const };
      r.emit(quantize, { ...shape, image: decoded.buffer, pixels, normalization: { mean, std } });
    }
  }

  #embedding(): PatchEmbedding {
    const { config, embed, table, places } = this.#model;
    const shape = { patchSize: config.patch_size, position: places.position, cls: places.cls };
    return new PatchEmbedding(embed, table, this.#flat.gradients, shape);
  }

  /** S attends to itself, Q to the S of its style. */
  #selfIndex(): AttentionIndex {
    const { uniques, pairs, styles } = this.#shape;
    const { tokens } = this.#model.layout;
    return {
      sequences: uniques + pairs,
      contexts: uniques,
      index: this.#r.index([
        ...each(uniques, (image) => [image * tokens, image * tokens]),
        ...each(pairs, (pair) => [(uniques + pair) * tokens, styles[pair]! * tokens]),
      ]),
      readers: this.#r.index(
        each(uniques, (image) => {
          const pair = styles.indexOf(image);
          return [image * tokens, image, pair < 0 ? NO_READER : uniques + pair, 0];
        }),
      ),
    };
  }

  /** Contents attend to their own stylized stream. */
  #crossedIndex(): AttentionIndex {
    const { pairs } = this.#shape;
    const { tokens } = this.#model.layout;
    return {
      sequences: pairs,
      contexts: pairs,
      index: this.#r.index(each(pairs, (pair) => [pair * tokens, pair * tokens])),
      readers: this.#r.index(each(pairs, (pair) => [pair * tokens, pair, NO_READER, 0])),
    };
  }

  /** S' = blk(S, S) and Z = blk(Q, S[style]) as one batch, then Q' = blk(S'[content], Z). */
  #layer(tape: Tape, layer: number, self: AttentionIndex, crossed: AttentionIndex): void {
    const { config, layout, layers } = this.#model;
    const { gradients } = this.#flat;
    const { tokens, heads, attention: wide, hidden } = layout;
    const r = this.#r;
    const { qkv, out, fc1, fc2 } = layers[layer]!;
    const d = config.embed_dim;
    const project = new NormLinear(qkv, gradients, d);
    const attend = new AttentionOut(out, gradients, { tokens, heads, scale: 1 / Math.sqrt(d / config.num_heads) });
    const mlp = new Mlp(fc1, fc2, gradients, d);
    // Under activation checkpointing every layer computes into the same buffers.
    const name = (what: string) => `${what} ${this.#recompute ? "of a layer" : layer}`;
    const keep = (what: string, rows: number, cols: number) => r.scratch(name(what), rows, cols, "elem");
    const qkvParts = (all: View) => ({
      q: columnsOf(all, 0, wide),
      k: columnsOf(all, wide, wide),
      v: columnsOf(all, 2 * wide, wide),
    });
    const [own, query, all] = [this.#own, this.#query, this.#all];
    const gradient = this.#residual("gradient rows");
    const queryGradient = rowsOf(gradient, own);
    const contentGradient = rowsOf(gradient, 0, query);
    const dQkv = r.scratch("qkv gradient", all, 3 * wide, "elem");

    const x = this.#residual(`input ${layer}`);
    const y = this.#residual(`input ${layer + 1}`);
    const rows = keep("qkv rows", all, 3 * wide);
    const projections = [
      { row: 0, output: 0, y: rowsOf(rows, 0, own), dy: rowsOf(dQkv, 0, own) },
      { row: own, output: 0, y: rowsOf(columnsOf(rows, 0, wide), own), dy: rowsOf(columnsOf(dQkv, 0, wide), own) },
    ];
    tape.run(project, [{ x, dx: gradient, accumulate: true, projections }]);
    const residual = this.#residual(name("residual"));
    const { q: dq, k: dk, v: dv } = qkvParts(dQkv);
    const attended = keep("attended", all, wide);
    const moves = { dq, dk, dv, dy: gradient, dx: gradient };
    tape.run(attend, { sequences: self, ...qkvParts(rows), attended, x, y: residual, ...moves });
    const isLast = layer === config.depth - 1;
    const stylized = isLast ? rowsOf(y, own) : this.#residual(name("stylized"), query);
    const outputs = [
      { row: 0, y: rowsOf(y, 0, own) },
      { row: own, y: stylized, again: !isLast },
    ];
    tape.run(mlp, { x: residual, hidden: keep("hidden", all, hidden), outputs, dx: gradient });
    if (isLast) return;

    // Contents are the first rows of S'.
    const content = rowsOf(y, 0, query);
    const cross = keep("query qkv", query, 3 * wide);
    const side = (output: number, cols: number) => [
      { row: 0, output, y: columnsOf(cross, output, cols), dy: columnsOf(rowsOf(dQkv, 0, query), output, cols) },
    ];
    tape.run(project, [
      { x: content, dx: contentGradient, accumulate: true, projections: side(0, wide) },
      { x: stylized, dx: queryGradient, accumulate: false, projections: side(wide, 2 * wide) },
    ]);
    const crossResidual = this.#residual(name("query residual"), query);
    tape.run(attend, {
      ...{ sequences: crossed, ...qkvParts(cross), attended: keep("query attended", query, wide), x: content, y: crossResidual },
      // The residual came from S', and so does its gradient go there.
      ...{ dq, dk, dv, dy: queryGradient, dx: contentGradient },
    });
    tape.run(mlp, {
      x: crossResidual,
      hidden: keep("query hidden", query, hidden),
      outputs: [{ row: 0, y: rowsOf(y, own) }],
      dx: queryGradient,
    });
  }

  #losses(
    tape: Tape,
    { planes, decoded, decodedGradient }: { planes: View; decoded: View; decodedGradient: View },
    weights: Readonly<Record<LossName, number>>,
    scale: number,
    backward: boolean,
  ): void {
    const r = this.#r;
    const { uniques, pairs, counts, styles, batch } = this.#shape;
    const network: FeatureNetwork = this.#model.features;
    const partials = new PartialSums(r);
    const [pixelPartials] = partials.term([uniques * PIXEL_LOSS_SLICES]);
    const perLevel = (images: number) => network.levels.map(({ channels }) => featurePartials({ images, channels }));
    const consistency = partials.term(perLevel(uniques));
    const anatomical = partials.term(perLevel(pairs));
    const style = partials.term(perLevel(pairs));
    const countsView = numbersOf(r.constant("index of counts", Float32Array.from(counts)), uniques);
    const stylesView = numbersOf(r.constant("index of styles", Uint32Array.from(styles)), pairs);
    const most = Math.max(uniques, pairs);
    const numbers = (name: string, elements: (shape: { images: number; channels: number }) => number) =>
      network.levels.map(({ channels }, level) => r.scratch(`${name} ${level}`, 1, elements({ images: most, channels }), "f32"));
    const statistics = numbers("statistics", statisticsElements);
    const coefficients = numbers("coefficients", coefficientsElements);

    const targets = r.section("features", () => {
      showImages(r, network, { images: uniques, ...this.#image, planes });
      const levels = network.features(r, uniques, "target");
      for (const [level, geometry] of network.levels.entries())
        r.emit(featureStatistics, { images: uniques, ...geometry, maps: levels[level]!, statistics: statistics[level]! });
      return levels;
    });
    r.emit(pixelLoss, {
      ...{ images: uniques, ...this.#image, x: planes, y: decoded, counts: countsView, gradient: decodedGradient },
      ...{ partials: pixelPartials!, batch, weight: weights.identity * scale },
    });
    const loss = new FeatureLoss(network);
    tape.run(loss, {
      ...{ images: uniques, ...this.#image, planes: decoded, targets, coefficients },
      compare: (level, f) =>
        r.emit(consistencyLoss, {
          ...{ images: uniques, ...network.levels[level]!, f, g: targets[level]!, counts: countsView },
          ...{ coefficients: coefficients[level]!, partials: consistency[level]! },
          ...{ batch, weight: weights.consistency * scale },
        }),
      gradient: backward ? { planes: decodedGradient, accumulate: true } : undefined,
    });
    tape.run(loss, {
      ...{ images: pairs, ...this.#image, planes: this.#planesFrom(decoded, uniques), targets, coefficients },
      compare: (level, f) =>
        r.emit(stylizedLoss, {
          ...{ images: pairs, ...network.levels[level]!, f, g: targets[level]!, statistics: statistics[level]! },
          ...{ styles: stylesView, coefficients: coefficients[level]!, anatomical: anatomical[level]!, style: style[level]! },
          ...{ batch, anatomicalWeight: weights.anatomical * scale, styleWeight: weights.style * scale },
        }),
      gradient: backward ? { planes: this.#planesFrom(decodedGradient, uniques), accumulate: false } : undefined,
    });
    partials.total(this.#flat.losses);
  }
}

const each = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index));
