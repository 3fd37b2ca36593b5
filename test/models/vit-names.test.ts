import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { Classifier, StylizingError, type VitConfig } from "../../src/index.js";
import { findModelOf } from "../../src/models/open.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { vit } from "../../src/models/vit/kind.js";
import { VitWeights } from "../../src/models/vit/names.js";
import { vitShapes } from "../../src/models/vit/parameters.js";
import { asWritten, inMemory, PUBLISHED, type Tensors, tensorsOf } from "../support/published-vit.js";

const CONFIG: VitConfig = parseVitConfig(
  { kind: "vit", image_size: 32, patch_size: 8, embed_dim: 96, num_heads: 3, depth: 2, num_classes: 5 },
  "test",
);

let plain: Tensors;
const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-names-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  plain = await tensorsOf(new HashedWeights(vitShapes(CONFIG), 5));
});

const withoutHead = (tensors: Tensors): Tensors => new Map([...tensors].filter(([key]) => !key.startsWith("head.")));

describe.each(Object.entries(PUBLISHED))("%s names", (_, { head, of }) => {
  it("are read as ours, every tensor of the same shape and bits", async () => {
    const wanted = head ? plain : withoutHead(plain);
    const found = await tensorsOf(new VitWeights(inMemory(of(plain))));
    expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [key, { shape, data }] of wanted) {
      expect(found.get(key)!.shape, key).toEqual(shape);
      expect(Buffer.from(found.get(key)!.data.buffer).equals(Buffer.from(data.buffer)), key).toBe(true);
    }
  });

  if (head)
    it("are read without the head too", async () => {
      const found = new VitWeights(inMemory(of(withoutHead(plain))));
      expect([...found.shapes.keys()].sort()).toEqual([...withoutHead(plain).keys()].sort());
    });
});

/** Writes a model's folder. */
async function model(name: string, tensors: Tensors, config?: object): Promise<string> {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  await writeSafetensors(join(path, "model.safetensors"), asWritten(tensors));
  if (config) writeFileSync(join(path, "config.json"), JSON.stringify(config));
  return path;
}

const options = { adapter: "software", precision: "f32", tune: "off" } as const;
const pixels = hashedUniform("pixels", 2 * 3 * 32 * 32, 1);

/** As `google/vit-base-patch16-224` has it, smaller; ImageNet's two cranes among the names. */
const HUGGING_FACE = {
  _name_or_path: "google/vit-base-patch16-224-in21k",
  architectures: ["ViTForImageClassification"],
  attention_probs_dropout_prob: 0.0,
  hidden_act: "gelu",
  hidden_dropout_prob: 0.0,
  hidden_size: 96,
  id2label: { "0": "benign", "1": "crane", "2": "in situ", "3": "crane", "4": "invasive" },
  image_size: 32,
  initializer_range: 0.02,
  intermediate_size: 384,
  label2id: { benign: 0, crane: 3, "in situ": 2, invasive: 4 },
  layer_norm_eps: 1e-12,
  model_type: "vit",
  num_attention_heads: 3,
  num_channels: 3,
  num_hidden_layers: 2,
  patch_size: 8,
  qkv_bias: true,
  transformers_version: "4.13.0.dev0",
};

/** As `timm/deit_small_patch16_224.fb_in1k` has it, smaller. */
const TIMM = {
  architecture: "deit_small_patch16_224",
  num_classes: 5,
  num_features: 128,
  global_pool: "token",
  pretrained_cfg: {
    tag: "fb_in1k",
    custom_load: false,
    input_size: [3, 32, 32],
    fixed_input_size: true,
    interpolation: "bicubic",
    crop_pct: 0.9,
    crop_mode: "center",
    mean: [0.5, 0.4, 0.3],
    std: [0.25, 0.2, 0.15],
    num_classes: 5,
    pool_size: null,
    first_conv: "patch_embed.proj",
    classifier: "head",
    license: "apache-2.0",
  },
};

describe("models on disk", () => {
  it("give the same logits and tokens under every name, with the configuration that lies beside them", async () => {
    await using ours = await Classifier.load(await model("plain", plain), { ...options, config: CONFIG });
    const wanted = await ours.forward(pixels, 32, 32);
    const same = async (path: string, config: VitConfig | undefined, head: boolean) => {
      await using other = await Classifier.load(path, { ...options, config });
      const result = await other.forward(pixels, 32, 32);
      expect(result.tokens).toEqual(wanted.tokens);
      expect(result.logits).toEqual(head ? wanted.logits : new Float32Array(0));
      return other.config;
    };
    const classifier = PUBLISHED["Hugging Face's ViTForImageClassification"]!.of(plain);
    const config = await same(await model("hf", classifier, HUGGING_FACE), undefined, true);
    expect(config).toMatchObject({ mlp_ratio: 4, num_heads: 3, num_classes: 5 });
    expect(config.classes).toEqual(["benign", "crane (1)", "in situ", "crane (3)", "invasive"]);

    // The library leaves names away that are its own, and a bare model's may be a classifier's.
    const { id2label, ...unnamed } = HUGGING_FACE;
    expect(await same(await model("hf-unnamed", classifier, unnamed), undefined, true)).toMatchObject({ num_classes: 5 });
    const bare = PUBLISHED["Hugging Face's ViTModel"]!.of(plain);
    for (const [name, json] of [["hf-bare", unnamed], ["hf-bare-named", { ...unnamed, id2label }]] as const) // biome-ignore format: a table
      expect(await same(await model(name, bare, json), undefined, false)).toMatchObject({ num_classes: 0 });

    const dino = PUBLISHED["DINO's whole file: the teacher is taken"]!.of(plain);
    await same(await model("dino", dino), { ...CONFIG, num_classes: 0 }, false);
  });

  it("take from timm's configuration statistics and names, and heads of 64 from the shapes", async () => {
    const config = { ...CONFIG, embed_dim: 128, num_heads: 2 };
    const tensors = await tensorsOf(new HashedWeights(vitShapes(config), 5));
    const found = async (json: object) => {
      const { config: settled } = await findModelOf(vit, await model("timm", tensors, json));
      return settled;
    };
    const names = ["n01440764", "n02012849", "n03126707", "n03710637", "n03710721"];
    const described = { n01440764: "tench", n02012849: "crane", n03126707: "crane", n03710637: "maillot" };
    expect(await found(TIMM)).toEqual({ ...config, mean: [0.5, 0.4, 0.3], std: [0.25, 0.2, 0.15] });
    expect((await found({ ...TIMM, label_names: names })).classes).toEqual(names);
    const both = await found({ ...TIMM, label_names: names, label_descriptions: described });
    expect(both.classes).toEqual(["tench", "crane (1)", "crane (2)", "maillot", "n03710721"]);
    // Names of another head than the weights have are not theirs.
    expect((await found({ ...TIMM, label_names: names.slice(1) })).classes).toBeUndefined();
    const { pretrained_cfg, ...rest } = TIMM;
    expect((await found({ ...rest, ...pretrained_cfg })).mean).toEqual([0.5, 0.4, 0.3]);
    await expect(found({ ...TIMM, global_pool: "avg" })).rejects.toMatchObject({ code: "CONFIG", message: expect.stringMatching(/pools its tokens by "avg"/) }); // biome-ignore format: one check
  });
});

const one = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
const hf = () => PUBLISHED["Hugging Face's ViTForImageClassification"]!.of(plain);
const third = (what: string) => `vit.encoder.layer.1.attention.attention.${what}.weight`;

describe("refused, and why", () => {
  it.each<[string, (tensors: Tensors) => Tensors, RegExp]>([
    ["a distilled DeiT", (t) => t.set("dist_token", one(1, 1, 96)), /distilled DeiT.*\(dist_token\)/],
    ["its head", (t) => t.set("head_dist.weight", one(5, 96)), /distilled DeiT/],
    ["Hugging Face's distilled DeiT", () => hf().set("vit.embeddings.distillation_token", one(1, 1, 96)), /distilled DeiT/],
    ["fc_norm", (t) => t.set("fc_norm.weight", one(96)), /averages all patches/],
    ["LayerScale", (t) => t.set("blocks.0.ls1.gamma", one(96)), /LayerScale/],
    ["LayerScale as DeiT III has it", (t) => t.set("blocks.0.gamma_1", one(96)), /LayerScale/],
    ["LayerScale as DINOv2 has it in Hugging Face", () => hf().set("vit.encoder.layer.0.layer_scale1.lambda1", one(96)), /LayerScale/],
    ["norms of queries", (t) => t.set("blocks.1.attn.q_norm.weight", one(32)), /normalises queries and keys/],
    ["register tokens", (t) => t.set("reg_token", one(1, 4, 96)), /register tokens/],
    ["register tokens under DINO's wrappers", (t) => new Map([...t].map(([k, v]) => [`teacher.backbone.${k}`, v] as const)).set("teacher.backbone.register_tokens", one(1, 4, 96)), /register tokens.*teacher\.backbone\.register_tokens/],
    ["an unknown tensor", (t) => t.set("blocks.0.attn.relative_position_bias_table", one(4)), /blocks\.0\.attn\.relative_position_bias_table that no ViT classifier here has/],
    ["a decoder's tensor with a stranger's name", (t) => t.set("decoder_gate", one(4)), /decoder_gate that no ViT classifier/],
    ["a network of another kind", () => new Map([["conv1.weight", one(4, 3, 7, 7)]]), /conv1\.weight that no ViT/],
    ["no key", () => { const t = hf(); t.delete(third("key")); return t; }, /has vit\.encoder\.layer\.1\.attention\.attention\.query\.weight, and for blocks\.1\.attn\.qkv\.weight no key beside it/],
    ["no value", () => { const t = hf(); t.delete(third("value")); return t; }, /no value beside it/],
    ["no query", () => { const t = hf(); t.delete(third("query")); return t; }, /no query beside it/],
    ["a query alone", () => { const t = hf(); t.delete(third("key")); t.delete(third("value")); return t; }, /no key and no value beside it/],
    ["thirds of different shapes", () => hf().set(third("key"), one(32, 96)), /have the shapes \[96, 96\], \[32, 96\], \[96, 96\]/],
    ["two heads", (t) => t.set("fc.weight", one(3, 96)), /has head\.weight and fc\.weight, which are the same tensor/],
    ["a packed matrix beside a query", (t) => t.set("encoder.layer.0.attention.attention.query.weight", one(96, 96)), /which are the same tensor/],
    ["two networks that are no twins", (t) => new Map([...t, ...[...t].map(([k, v]) => [`model.${k}`, v] as const)]), /several networks: one and model\./],
  ])("%s", (_, change, message) => {
    const work = () => new VitWeights(inMemory(change(new Map(plain)), "a.safetensors"));
    expect(work).toThrow(StylizingError);
    try {
      work();
    } catch (error) {
      expect(error).toMatchObject({ code: "CHECKPOINT", fix: expect.stringMatching(/\w{3}/) });
      expect((error as Error).message).toMatch(message);
      expect((error as Error).message).toMatch(/^a\.safetensors/);
    }
  }); // biome-ignore format: a table

  it("takes the teacher only where it is a network", async () => {
    // A tensor of the trainer beside the student is no teacher.
    const student = [...withoutHead(plain)].map(([key, tensor]) => [`student.${key}`, tensor] as const);
    const source = inMemory(new Map([...student, ["teacher.head.mlp.0.bias", one(4)]]));
    const found = new VitWeights(source);
    expect([...found.shapes.keys()].sort()).toEqual([...withoutHead(plain).keys()].sort());
  });

  it.each<[string, object, string, RegExp]>([
    ["more classes than the head has", { ...CONFIG, num_classes: 6 }, "CONFIG", /head\.weight has the shape \[5, 96\], and the configuration asks for \[6, 96\]/],
    ["another width of the MLP", { ...CONFIG, mlp_ratio: 2 }, "CONFIG", /mlp\.fc1\.weight has the shape/],
    ["another image size", { ...CONFIG, image_size: 64 }, "CONFIG", /pos_embed has the shape \[1, 17, 96\]/],
    ["more blocks", { ...CONFIG, depth: 3 }, "CHECKPOINT", /lacks the tensor blocks\.2\.norm1\.weight/],
    ["names for other classes", { ...HUGGING_FACE, id2label: { 0: "a", 1: "b" } }, "CONFIG", /head\.weight has the shape/],
    ["one class", { ...CONFIG, num_classes: 1 }, "CONFIG", /num_classes is 1/],
    ["names that are not one a class", { ...CONFIG, classes: ["a", "b"] }, "CONFIG", /classes are not one name a class/],
  ])("a configuration with %s", async (_, config, code, message) => {
    const path = await model("contradicted", "hidden_size" in config ? hf() : plain, config);
    const failed = Classifier.load(path, options);
    await expect(failed).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  }); // biome-ignore format: a table
});
