import { StylizingError } from "../../errors.js";
import type { WeightSource } from "../../hub/weight-source.js";

/**
 * The one place where the names of published ViT checkpoints become ours, which are timm's, DeiT's and those of DINO's backbone:
 * Hugging Face's `ViTModel` and `ViTForImageClassification`, with queries, keys and values apart; DINO's own files (`teacher`,
 * else `student`, whose projection head is left out); MAE's (whose decoder is left out); and those of `medical_transformers`
 * (`backbone.KEY` and `fc`).
 */

/** What training wraps a network in, outermost first or in any order; the last two are Hugging Face's own classes. */
const WRAPPER = "(?:state_dict|model|teacher_encoder|student_encoder|teacher|student|module|backbone|vit|deit)\\.";
/** The tensor that every ViT with a CLS token has once, and the wrappers around it. */
const FIRST_TENSOR = new RegExp(`^((?:${WRAPPER})*)(?:embeddings\\.)?cls_token$`);
/** DINO's two networks. */
const TWIN = /^(teacher|student)(_encoder)?\.$/;

/** Tensors beside the classifier that other tasks train: projection heads and centre of DINO, MAE's decoder, Hugging Face's pooler. */
const LEFT_OUT =
  /^((head|fc)\.(mlp|last_layer)\.|dino_loss\.center$|decoder_(embed|blocks|norm|pred)\.|decoder_pos_embed$|decoder\.|(embeddings\.)?mask_token$|pooler\.)/;

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

/** A published tensor, or the three that are stacked along their first axis, of which some may be missing. */
type Place = (string | undefined)[];

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

/**
 * The wrappers around the network that is taken, outermost first; none where there is no network, which later checks say.
 * @throws StylizingError `CHECKPOINT` where there are several and not a teacher and its student, of which DINO evaluates the teacher
 */
function wrappersOf(keys: readonly string[], label: string): string[] {
  const found = keys.flatMap((key) => FIRST_TENSOR.exec(key)?.[1] ?? []);
  const teachers = found.filter((prefix) => prefix.includes("teacher"));
  const [prefix = "", other] = teachers.length > 0 ? teachers : found;
  if (other !== undefined)
    throw new StylizingError(
      "CHECKPOINT",
      `${label} holds several networks: ${prefix || "one"} and ${other}.`,
      "Give a checkpoint of one, or of a teacher and its student.",
    );
  return prefix.match(new RegExp(WRAPPER, "g")) ?? [];
}

/** Published keys without the wrappers that they share with the network; the twin of the network that is taken is left out. */
function* unwrapped(keys: readonly string[], label: string): Generator<[name: string, published: string]> {
  const wrappers = wrappersOf(keys, label);
  for (const published of keys) {
    let name = published;
    let twin = false;
    for (const wrapper of wrappers) {
      if (name.startsWith(wrapper)) name = name.slice(wrapper.length);
      else {
        twin = TWIN.test(wrapper) && TWIN.test(name.slice(0, name.indexOf(".") + 1));
        break;
      }
    }
    if (!twin) yield [name, published];
  }
}

/** A checkpoint under our names. */
export class VitWeights implements WeightSource {
  readonly label: string;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly #source: WeightSource;
  readonly #places: ReadonlyMap<string, Readonly<Place>>;

  /** @throws StylizingError `CHECKPOINT` where it is another architecture's, is incomplete, or has tensors that nobody here knows */
  constructor(source: WeightSource) {
    this.label = source.label;
    this.#source = source;
    const places = new Map<string, Place>();
    for (const [name, published] of unwrapped([...source.shapes.keys()], source.label)) {
      const foreign = FOREIGN.find(([pattern]) => pattern.test(name));
      if (foreign) throw new StylizingError("CHECKPOINT", `${source.label} ${foreign[1]} (${published}).`, foreign[2]);
      if (LEFT_OUT.test(name)) continue;
      const { key, third } = ofHuggingFace(name);
      const place = places.get(key) ?? new Array<undefined>(third === undefined ? 1 : 3).fill(undefined);
      const other = place[third ?? 0] ?? (place.length === (third === undefined ? 1 : 3) ? undefined : place.find(Boolean));
      if (other !== undefined)
        throw new StylizingError(
          "CHECKPOINT",
          `${source.label} has ${other} and ${published}, which are the same tensor of a ViT.`,
          "Take out the one that does not belong to this classifier.",
        );
      place[third ?? 0] = published;
      places.set(key, place);
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
    for (const name of place) parts.push(await this.#source.read(name!));
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
function stackedShape(source: WeightSource, key: string, place: Place): readonly number[] {
  const shapes = place.map((name) => (name === undefined ? undefined : source.shapes.get(name)));
  const [first] = shapes;
  const names = ["query", "key", "value"];
  const missing = names.filter((_, third) => place.length === 3 && place[third] === undefined);
  const there = place.find((name) => name !== undefined)!;
  if (missing.length > 0)
    throw new StylizingError(
      "CHECKPOINT",
      `${source.label} has ${there}, and for ${key} no ${missing.join(" and no ")} beside it.`,
      "The file is incomplete, or another model's.",
    );
  if (shapes.some((shape) => shape!.join() !== first!.join()))
    throw new StylizingError(
      "CHECKPOINT",
      `${source.label}: query, key and value of ${key} have the shapes ${shapes.map((shape) => `[${shape!.join(", ")}]`).join(", ")}.`,
      "They must be of one shape: the file is another model's.",
    );
  return place.length === 1 ? first! : [3 * first![0]!, ...first!.slice(1)];
}
