import { columnsOf, numbersOf, type View } from "../../gpu/view.js";
import { CrossEntropy, evenWeights } from "../../losses/cross-entropy.js";
import { type AttentionIndex, AttentionOut } from "../../net/layers/attention-out.js";
import { ClsHead } from "../../net/layers/cls-head.js";
import type { DropPath } from "../../net/layers/drop-path.js";
import { Mlp } from "../../net/layers/mlp.js";
import { NormLinear } from "../../net/layers/norm-linear.js";
import { PatchEmbedding } from "../../net/layers/patch-embedding.js";
import type { Recorder } from "../../net/recorder.js";
import { Tape } from "../../net/tape.js";
import { NO_READER } from "../../ops/attention-backward.js";
import type { FlatArrays } from "../task.js";
import type { TrainedVit } from "./trained-model.js";

/** Names of the arena's buffers that are written before a part's program, and read behind it. */
export const VIT_TRAINING = { targets: "targets", factors: "drop path factors", logits: "logits" } as const;

export interface VitTrainingOptions {
  /** Images of this part of a batch. */
  images: number;
  input: "bytes" | "planes";
  backward: boolean;
  /** Activation checkpointing. */
  recompute: boolean;
  /** Whether branches are dropped: their factors are then uploaded. */
  drop: boolean;
  /** What the loss is multiplied by on its way into gradients. */
  scale: number;
}

/** Branches of a model, of which drop path has a factor an image each: attention's and the MLP's of every block, in order. */
export const branchesOf = (depth: number): number => 2 * depth;

/** Emits forward pass, loss, and with `backward` the gradients of some images of a batch. */
export function recordVitTraining(r: Recorder, model: TrainedVit, flat: FlatArrays, options: VitTrainingOptions): void {
  const { config, layout, layers, places } = model;
  const { images, backward, recompute } = options;
  const { tokens, width, heads, attention: wide, hidden } = layout;
  const { embed_dim: d, in_channels: channels, image_size: imageSize, patch_size: patchSize } = config;
  const rows = images * tokens;
  const tape = new Tape(r);
  const residual = (name: string) => r.scratch(name, rows, width, "f32");
  const gradient = residual("gradient rows");

  // Room for 32-bit pixels, so that programs of both kinds share it.
  const pixels = r.scratch(options.input === "bytes" ? "pixels" : "planes", images, channels * imageSize ** 2, "f32").buffer;
  const { position, cls } = places;
  tape.run(new PatchEmbedding(model.embed, model.table, flat.gradients, { patchSize, position, cls }), {
    ...{ images, channels, imageSize, pixels, format: options.input },
    normalization: { mean: config.mean ?? [], std: config.std ?? [] },
    ...{ y: residual("input 0"), dy: gradient, copies: [] },
  });

  const each = <T>(make: (image: number) => T) => Array.from({ length: images }, (_, image) => make(image));
  const sequences: AttentionIndex = {
    sequences: images,
    contexts: images,
    index: r.index(each((image) => [image * tokens, image * tokens])),
    readers: r.index(each((image) => [image * tokens, image, NO_READER, 0])),
  };
  const factors = (branch: number) =>
    numbersOf(r.scratch(VIT_TRAINING.factors, branchesOf(config.depth), images, "f32").buffer, images, branch * images);
  const dropOf = (branch: number): DropPath | undefined =>
    options.drop ? { factors: factors(branch), each: tokens } : undefined;

  const block = (layer: number) => {
    const { qkv, out, fc1, fc2 } = layers[layer]!;
    // Under activation checkpointing every layer computes into the same buffers.
    const name = (what: string) => `${what} ${recompute ? "of a layer" : layer}`;
    const keep = (what: string, cols: number) => r.scratch(name(what), rows, cols, "elem");
    const parts = (all: View) => ({
      q: columnsOf(all, 0, wide),
      k: columnsOf(all, wide, wide),
      v: columnsOf(all, 2 * wide, wide),
    });
    const x = residual(`input ${layer}`);
    const packed = keep("qkv rows", 3 * wide);
    const dPacked = r.scratch("qkv gradient", rows, 3 * wide, "elem");
    tape.run(new NormLinear(qkv, flat.gradients, d), [
      { x, dx: gradient, accumulate: true, projections: [{ row: 0, output: 0, y: packed, dy: dPacked }] },
    ]);
    const between = residual(name("residual"));
    const { q: dq, k: dk, v: dv } = parts(dPacked);
    const scale = 1 / Math.sqrt(d / config.num_heads);
    tape.run(new AttentionOut(out, flat.gradients, { tokens, heads, scale }), {
      ...{ sequences, ...parts(packed), attended: keep("attended", wide), x, y: between },
      ...{ dq, dk, dv, dy: gradient, dx: gradient, drop: dropOf(2 * layer) },
    });
    tape.run(new Mlp(fc1, fc2, flat.gradients, d), {
      ...{ x: between, hidden: keep("hidden", hidden), dx: gradient, drop: dropOf(2 * layer + 1) },
      outputs: [{ row: 0, y: residual(`input ${layer + 1}`) }],
    });
  };
  for (let layer = 0; layer < config.depth; layer++) {
    if (recompute) tape.checkpoint(() => block(layer));
    else block(layer);
  }

  const logits = r.scratch(VIT_TRAINING.logits, images, layout.classes, "f32");
  const dLogits = r.scratch("logits gradient", images, layout.classes, "elem");
  tape.run(new ClsHead(model.head, flat.gradients, d), {
    ...{ x: residual(`input ${config.depth}`), dx: gradient, tokens, logits, dLogits },
  });
  const loss = new CrossEntropy(flat.losses, {
    classes: config.num_classes,
    smoothing: config.label_smoothing ?? 0,
    weights: config.class_weights ?? evenWeights(config.num_classes),
    scale: options.scale,
  });
  tape.run(loss, { logits, dLogits, targets: r.scratch(VIT_TRAINING.targets, images, 2, "f32").buffer });
  if (backward) tape.backward();
}
