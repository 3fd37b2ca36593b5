import type { TensorToWrite } from "../../src/hub/safetensors-writer.js";
import type { WeightSource } from "../../src/hub/weight-source.js";

/** Tensors of a checkpoint by name. */
export type Tensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

/** A checkpoint in memory. */
export const inMemory = (tensors: Tensors, label = "file"): WeightSource => ({
  label,
  shapes: new Map([...tensors].map(([key, { shape }]) => [key, shape])),
  read: async (key) => tensors.get(key)!.data,
  [Symbol.asyncDispose]: async () => {},
});

/** All tensors of a source. */
export async function tensorsOf(source: WeightSource): Promise<Tensors> {
  const tensors: Tensors = new Map();
  for (const [key, shape] of source.shapes) tensors.set(key, { shape, data: await source.read(key) });
  return tensors;
}

export const asWritten = (tensors: Tensors): Iterable<readonly [string, TensorToWrite]> => tensors;

const renamed = (tensors: Tensors, name: (key: string) => string): Tensors =>
  new Map([...tensors].map(([key, tensor]) => [name(key), tensor]));

const noise = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) });
const without = (tensors: Tensors, of: RegExp): Tensors => new Map([...tensors].filter(([key]) => !of.test(key)));
const backbone = (tensors: Tensors): Tensors => without(tensors, /^head\./);
const other = (tensors: Tensors): Tensors => new Map([...tensors].map(([key, { shape }]) => [key, noise(...shape)]));

/** Our names as Hugging Face's `ViTModel` has them, without a prefix; queries, keys and values apart. */
function ofHuggingFace(tensors: Tensors, prefix: string): Tensors {
  const block: readonly (readonly [string, string])[] = [
    ["norm1", "layernorm_before"],
    ["norm2", "layernorm_after"],
    ["attn.proj", "attention.output.dense"],
    ["mlp.fc1", "intermediate.dense"],
    ["mlp.fc2", "output.dense"],
  ];
  const top: readonly (readonly [string, string])[] = [
    ["cls_token", "embeddings.cls_token"],
    ["pos_embed", "embeddings.position_embeddings"],
    ["patch_embed.proj", "embeddings.patch_embeddings.projection"],
    ["norm", "layernorm"],
  ];
  const out: Tensors = new Map();
  for (const [key, { shape, data }] of tensors) {
    const [, layer, rest = ""] = /^blocks\.(\d+)\.(.+)$/.exec(key) ?? [];
    const [, what] = /^attn\.qkv\.(weight|bias)$/.exec(rest) ?? [];
    if (what) {
      const third = data.length / 3;
      for (const [part, name] of ["query", "key", "value"].entries())
        out.set(`${prefix}encoder.layer.${layer}.attention.attention.${name}.${what}`, {
          shape: [shape[0]! / 3, ...shape.slice(1)],
          data: data.slice(part * third, (part + 1) * third),
        });
      continue;
    }
    if (key.startsWith("head.")) {
      out.set(key.replace("head.", "classifier."), { shape, data });
      continue;
    }
    const [ours, theirs] = (layer === undefined ? top : block).find(([name]) =>
      (layer === undefined ? key : rest).startsWith(name),
    )!;
    const suffix = (layer === undefined ? key : rest).slice(ours.length);
    out.set(`${prefix}${layer === undefined ? "" : `encoder.layer.${layer}.`}${theirs}${suffix}`, { shape, data });
  }
  return out;
}

const DINO_HEAD: Tensors = new Map([
  ["mlp.0.weight", noise(8, 4)],
  ["mlp.0.bias", noise(8)],
  ["mlp.2.weight", noise(8, 8)],
  ["mlp.4.bias", noise(4)],
  ["last_layer.weight_g", noise(16, 1)],
  ["last_layer.weight_v", noise(16, 4)],
]);

/** The names under which a classifier's tensors are published, each made of the plain ones; `head`: whether it keeps the classifier's. */
export const PUBLISHED: Readonly<Record<string, { head: boolean; of: (plain: Tensors) => Tensors }>> = {
  "timm's and DeiT's": { head: true, of: (plain) => plain },
  "timm's in a DataParallel": { head: true, of: (plain) => renamed(plain, (key) => `module.${key}`) },
  "DeiT's own file, model.KEY": { head: true, of: (plain) => renamed(plain, (key) => `model.${key}`) },
  "Lightning's, state_dict.model.KEY": { head: true, of: (plain) => renamed(plain, (key) => `state_dict.model.${key}`) },
  "DINO's backbone": { head: false, of: backbone },
  "DINO's whole file: the teacher is taken": {
    head: false,
    of: (plain) =>
      new Map([
        ...renamed(other(backbone(plain)), (key) => `student.module.backbone.${key}`),
        ...renamed(other(DINO_HEAD), (key) => `student.module.head.${key}`),
        ...renamed(backbone(plain), (key) => `teacher.backbone.${key}`),
        ...renamed(DINO_HEAD, (key) => `teacher.head.${key}`),
        ["dino_loss.center", noise(1, 16)],
      ]),
  },
  "DINO's student alone": {
    head: false,
    of: (plain) =>
      new Map([
        ...renamed(backbone(plain), (key) => `student.module.backbone.${key}`),
        ...renamed(DINO_HEAD, (key) => `student.module.head.${key}`),
      ]),
  },
  "medical_transformers'": {
    head: true,
    of: (plain) => renamed(plain, (key) => (key.startsWith("head.") ? key.replace("head.", "fc.") : `backbone.${key}`)),
  },
  "medical_transformers', module.": {
    head: true,
    of: (plain) => renamed(plain, (key) => `module.${key.startsWith("head.") ? key.replace("head.", "fc.") : `backbone.${key}`}`),
  },
  "medical_transformers' DINO": {
    head: false,
    of: (plain) =>
      new Map([
        ...renamed(backbone(plain), (key) => `teacher_encoder.backbone.${key}`),
        ...renamed(DINO_HEAD, (key) => `teacher_encoder.fc.${key}`),
        ...renamed(other(backbone(plain)), (key) => `student_encoder.backbone.${key}`),
        ...renamed(other(DINO_HEAD), (key) => `student_encoder.fc.${key}`),
      ]),
  },
  "MAE's": {
    head: false,
    of: (plain) =>
      new Map([
        ...backbone(plain),
        ["mask_token", noise(1, 1, 8)],
        ["decoder_pos_embed", noise(1, 17, 8)],
        ["decoder_embed.weight", noise(8, 96)],
        ["decoder_blocks.0.attn.qkv.weight", noise(24, 8)],
        ["decoder_norm.weight", noise(8)],
        ["decoder_pred.weight", noise(8, 8)],
      ]),
  },
  "Hugging Face's ViTForImageClassification": { head: true, of: (plain) => ofHuggingFace(plain, "vit.") },
  "Hugging Face's ViTModel": {
    head: false,
    of: (plain) =>
      new Map([...ofHuggingFace(backbone(plain), ""), ["pooler.dense.weight", noise(96, 96)], ["pooler.dense.bias", noise(96)]]),
  },
  "Hugging Face's ViTMAEForPreTraining": {
    head: false,
    of: (plain) =>
      new Map([
        ...ofHuggingFace(backbone(plain), "vit."),
        ["decoder.mask_token", noise(1, 1, 8)],
        ["decoder.decoder_layers.0.intermediate.dense.bias", noise(8)],
      ]),
  },
};
