import { StylizingError } from "../../errors.js";
import type { WeightSource } from "../../hub/weight-source.js";

/**
 * The one place where the names of published ViT checkpoints become ours, which are timm's, DeiT's and those of DINO's backbone:
 * Hugging Face's `ViTModel` and `ViTForImageClassification`, with queries, keys and values apart; DINO's own files (`teacher`,
 * else `student`, whose projection head is left out); MAE's (whose decoder is left out); and those of `medical_transformers`
 * (`backbone.KEY` and `fc`).
 */

/** Keys of the wrappers around a network, outermost first; where both are there the teacher is what DINO evaluates. */
const WRAPPERS = [
  "state_dict.",
  "model.",
  "teacher_encoder.",
  "student_encoder.",
  "teacher.",
  "student.",
  "module.",
  "backbone.",
];
const HUGGING_FACE = ["vit.", "deit."];

/** Tensors beside the classifier that other tasks train. */
const LEFT_OUT =
  /^(head\.(mlp|last_layer)\.|fc\.(mlp|last_layer)\.|decoder_|mask_token$|pooler\.|(vit\.|deit\.)?pooler\.|embeddings\.mask_token$|decoder\.)/;

/** What a network of another architecture has, and why it is refused. */
const FOREIGN: readonly (readonly [pattern: RegExp, why: string, fix: string])[] = [
  [
    /(^|\.)(dist_token|distillation_token|head_dist|distillation_classifier)/,
    "is a distilled DeiT, with a second token",
    "Use the one that was trained without distillation.",
  ],
  [
    /(^|\.)fc_norm\./,
    "averages all patches in front of its head",
    "This classifier reads the CLS token: use a checkpoint with one.",
  ],
  [
    /\.(ls1|ls2|gamma_1|gamma_2|layer_scale\d?)(\.|$)/,
    "scales its layers (LayerScale)",
    "Use a ViT without it, such as DeiT's or DINO's.",
  ],
  [/\.(q_norm|k_norm)\./, "normalises queries and keys", "Use a ViT without that, such as DeiT's or DINO's."],
  [/(^|\.)(reg_token|register_tokens)/, "has register tokens", "Use a ViT without them, such as DeiT's or DINO's."],
  [/^norm_pre\./, "has a norm in front of its blocks", "Use a ViT without it, such as DeiT's or DINO's."],
];

/** A published tensor, or several that are stacked along their first axis. */
type Place = readonly string[];

const BLOCK: readonly (readonly [theirs: string, ours: string])[] = [
  ["layernorm_before", "norm1"],
  ["layernorm_after", "norm2"],
  ["attention.output.dense", "attn.proj"],
  ["intermediate.dense", "mlp.fc1"],
  ["output.dense", "mlp.fc2"],
];

const TOP: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/^embeddings\.cls_token$/, "cls_token"],
  [/^embeddings\.position_embeddings$/, "pos_embed"],
  [/^embeddings\.patch_embeddings\.projection\./, "patch_embed.proj."],
  [/^layernorm\./, "norm."],
  [/^classifier\./, "head."],
  [/^fc\./, "head."],
];

/** Our name of a Hugging Face tensor; that of the packed matrix, and its third, for queries, keys and values. */
function ofHuggingFace(key: string): { key: string; third?: number } {
  const [, block, rest] = /^encoder\.layer\.(\d+)\.(.+)$/.exec(key) ?? [];
  if (rest !== undefined) {
    const [, which, what] = /^attention\.attention\.(query|key|value)\.(weight|bias)$/.exec(rest) ?? [];
    if (which) return { key: `blocks.${block}.attn.qkv.${what}`, third: ["query", "key", "value"].indexOf(which) };
    for (const [theirs, ours] of BLOCK)
      if (rest.startsWith(`${theirs}.`)) return { key: `blocks.${block}.${ours}${rest.slice(theirs.length)}` };
  }
  for (const [theirs, ours] of TOP) if (theirs.test(key)) return { key: key.replace(theirs, ours) };
  return { key };
}

/** Takes wrappers off all keys that have them, one after another; of two networks the teacher stays. */
function unwrapped(keys: readonly string[]): Map<string, string> {
  let names = new Map(keys.map((key) => [key, key]));
  for (let again = true; again; ) {
    again = false;
    for (const wrapper of [...WRAPPERS, ...HUGGING_FACE]) {
      const inside = [...names.keys()].filter((key) => key.startsWith(wrapper));
      // A ViT's own first tensor stands under no wrapper.
      if (inside.length === 0 || names.has("cls_token") || names.has("embeddings.cls_token")) continue;
      const rest = [...names].filter(([key]) => !key.startsWith(wrapper));
      const taken = inside.map((key) => [key.slice(wrapper.length), names.get(key)!] as const);
      const sibling = /^(teacher|student)/.test(wrapper);
      names = new Map([...rest.filter(([key]) => !(sibling && /^(teacher|student)/.test(key))), ...taken]);
      again = true;
    }
  }
  return names;
}

/** A checkpoint under our names. */
export class VitWeights implements WeightSource {
  readonly label: string;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly #source: WeightSource;
  readonly #places: ReadonlyMap<string, Place>;

  /** @throws StylizingError `CHECKPOINT` where it is another architecture's, or has tensors that nobody here knows */
  constructor(source: WeightSource) {
    this.label = source.label;
    this.#source = source;
    const places = new Map<string, string[]>();
    for (const [name, published] of unwrapped([...source.shapes.keys()])) {
      const foreign = FOREIGN.find(([pattern]) => pattern.test(name));
      if (foreign) throw new StylizingError("CHECKPOINT", `${source.label} ${foreign[1]} (${published}).`, foreign[2]);
      if (LEFT_OUT.test(name)) continue;
      const { key, third } = ofHuggingFace(name);
      if (third === undefined) places.set(key, [published]);
      else {
        const all = places.get(key) ?? [];
        all[third] = published;
        places.set(key, all);
      }
    }
    this.#places = places;
    const unknown = [...places.keys()].find((key) => !OURS.test(key));
    if (unknown !== undefined)
      throw new StylizingError(
        "CHECKPOINT",
        `${source.label} has a tensor ${places.get(unknown)!.find(Boolean)} that no ViT classifier here has.`,
        "Use a checkpoint of a plain ViT: timm's, DeiT's, DINO's, MAE's or Hugging Face's.",
      );
    this.shapes = new Map([...places].map(([key, all]) => [key, stackedShape(source, key, all)]));
  }

  async read(key: string): Promise<Float32Array> {
    const place = this.#places.get(key);
    if (!place)
      throw new StylizingError(
        "CHECKPOINT",
        `${this.label} has no tensor ${key}.`,
        "Check that the checkpoint belongs to this model.",
      );
    if (place.length === 1) return this.#source.read(place[0]!);
    const parts: Float32Array[] = [];
    for (const name of place) parts.push(await this.#source.read(name));
    const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#source[Symbol.asyncDispose]();
  }
}

/** The names of a classifier's tensors. */
const OURS =
  /^(cls_token|pos_embed|patch_embed\.proj\.(weight|bias)|blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)|norm\.(weight|bias)|head\.(weight|bias))$/;

/** The shape of tensors one behind the other. @throws StylizingError `CHECKPOINT` where one of three is missing, or they differ */
function stackedShape(source: WeightSource, key: string, names: readonly string[]): readonly number[] {
  const shapes = Array.from(names, (name) => (name === undefined ? undefined : source.shapes.get(name)));
  const [first] = shapes;
  if (shapes.length === 1) return first!;
  if (shapes.length !== 3 || shapes.some((shape) => !shape || shape.join() !== first?.join()))
    throw new StylizingError(
      "CHECKPOINT",
      `${source.label} does not have query, key and value of one shape for ${key}.`,
      "The file is incomplete, or another model's.",
    );
  return [3 * first![0]!, ...first!.slice(1)];
}
