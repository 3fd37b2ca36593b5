import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { VitEngine } from "../../src/classifier/engine.js";
import { HashedWeights } from "../../src/hub/hashed.js";
import { Classifier, type VitConfig } from "../../src/index.js";
import { findModelOf } from "../../src/models/open.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { vit } from "../../src/models/vit/kind.js";
import { vitShapes } from "../../src/models/vit/parameters.js";
import { safetensorsBytes, temporaryFolder } from "../hub/files.js";
import { COMMIT, HubServer } from "../hub/hub-server.js";
import { relativeError } from "../support/fixtures.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { inMemory, tensorsOf } from "../support/published-vit.js";
import { type Traps, VitOracle } from "../support/vit.js";

// What a ViT is easily got wrong in. The model must meet a float64 oracle that shares nothing with it, and the same oracle with one
// thing wrong must be far away: then the first comparison would have seen it.
const BOUND = 5e-5;

/** Two heads of 12 channels, and an embedding (see `weights`) so weak that eps is felt in the first norm. */
const CONFIG: VitConfig = parseVitConfig(
  {
    kind: "vit",
    image_size: 12,
    in_channels: 2,
    patch_size: 4,
    embed_dim: 24,
    num_heads: 2,
    depth: 2,
    mlp_ratio: 3,
    num_classes: 3,
  },
  "test",
);

async function weights() {
  const tensors = await tensorsOf(new HashedWeights(vitShapes(CONFIG), 8));
  for (const key of ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]) {
    const { data, shape } = tensors.get(key)!;
    tensors.set(key, { shape, data: data.map((value) => value / 64) });
  }
  return tensors;
}

const noise = (count: number) => Float32Array.from({ length: count }, (_, i) => 1.5 * Math.sin(i * 7.77 + i * i * 0.013));
const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const [width, head] = [24, 12];

describe("a model", () => {
  const gpu = gpuOfThisFile();

  it("meets the oracle, and no oracle with one thing wrong", async () => {
    const tensors = await weights();
    const pixels = noise(2 * 12 * 12);
    const engine = await VitEngine.create(gpu(), CONFIG, inMemory(tensors));
    try {
      const shape = { images: 1, height: 12, width: 12, input: "planes", tokens: true, attention: true } as const;
      const result = await engine.run({ ...shape, pixels });
      const plain = new Map([...tensors].map(([key, { data }]) => [key, data]));
      const of = (traps: Traps) => new VitOracle(CONFIG, plain, traps).forward(pixels);
      const right = of({});
      for (const output of ["logits", "tokens", "attention"] as const)
        expect(relativeError(result[output], right[output]), output).toBeLessThanOrEqual(BOUND);
      // CLS's own column is left out: the shares of a head sum to less than one.
      expect(result.attention).toHaveLength(2 * 9);
      for (const share of [0, 1].map((at) => result.attention.subarray(at * 9, (at + 1) * 9).reduce((a, b) => a + b)))
        expect(share).toBeLessThan(0.999);

      const wrong: Record<string, Traps> = {
        "eps 1e-5": { eps: 1e-5 },
        "eps 1e-12": { eps: 1e-12 },
        "GELU by tanh": { activation: tanhGelu },
        "scale by the width": { divisor: Math.sqrt(width) },
        "no scale": { divisor: 1 },
        "keys before queries": { packed: (part, i) => [1, 0, 2][part]! * width + i },
        "values first": { packed: (part, i) => [1, 2, 0][part]! * width + i },
        "queries, keys and values of a head beside each other": {
          packed: (part, i) => Math.floor(i / head) * 3 * head + part * head + (i % head),
        },
        "heads interleaved": { packed: (part, i) => part * width + (i % head) * 2 + Math.floor(i / head) },
      };
      for (const [what, traps] of Object.entries(wrong))
        expect(relativeError(of(traps).tokens, result.tokens), what).toBeGreaterThan(2 * BOUND);
    } finally {
      engine.dispose();
    }
  });

  it("takes images by mean and deviation of each channel, of pixels in [0, 1]", async () => {
    const config: VitConfig = { ...CONFIG, in_channels: 3, mean: [0.7, 0.5, 0.4], std: [0.2, 0.25, 0.35] };
    await using model = await Classifier.load("hashed:8", { config, adapter: "software", precision: "f32", tune: "off" });
    const data = Uint8Array.from({ length: 12 * 12 * 3 }, (_, i) => (i * 89 + (i >> 3) * 31) & 255);
    const { logits, probabilities } = await model.classify({ data, width: 12, height: 12, channels: 3 });
    const hashed = new Map([...(await tensorsOf(new HashedWeights(vitShapes(config), 8)))].map(([key, one]) => [key, one.data]));
    const oracle = new VitOracle(config, hashed);
    const by = (mean: readonly number[], std: readonly number[], most = 255) => {
      const planes = new Float32Array(data.length);
      for (let pixel = 0; pixel < 144; pixel++)
        for (let c = 0; c < 3; c++) planes[c * 144 + pixel] = (data[pixel * 3 + c]! / most - mean[c]!) / std[c]!;
      return oracle.forward(planes).logits;
    };
    const [mean, std] = [config.mean!, config.std!];
    expect(relativeError(logits, by(mean, std))).toBeLessThanOrEqual(BOUND);
    for (const wrong of [
      by(std, mean),
      by(mean, std, 1),
      by(mean, std, 256),
      by([0, 0, 0], [1, 1, 1]),
      by([...mean].reverse(), std),
    ])
      expect(relativeError(logits, wrong)).toBeGreaterThan(2 * BOUND);
    const powers = Array.from(logits, Math.exp);
    const sum = powers.reduce((a, b) => a + b);
    for (const [index, power] of powers.entries()) expect(probabilities[index]).toBeCloseTo(power / sum, 6);
  });
});

describe("statistics", () => {
  const REPO = "timm/deit_small_patch16_224.fb_in1k";
  const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  let hub: HubServer;
  let cacheDir: string;
  const small = parseVitConfig({ kind: "vit", image_size: 32, patch_size: 16, embed_dim: 64, num_heads: 1, depth: 1, num_classes: 3 }, "test"); // biome-ignore format: one line

  beforeEach(async () => {
    for (const name of ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HOME"]) vi.stubEnv(name, undefined);
    hub = await HubServer.start(REPO);
    cacheDir = await temporaryFolder();
    const header: Record<string, object> = {};
    const parts: Uint8Array[] = [];
    let end = 0;
    for (const [key, { shape, data }] of await tensorsOf(new HashedWeights(vitShapes(small), 4))) {
      header[key] = { dtype: "F32", shape, data_offsets: [end, end + data.byteLength] };
      parts.push(new Uint8Array(data.buffer));
      end += data.byteLength;
    }
    hub.files.set("model.safetensors", { bytes: safetensorsBytes(header, Buffer.concat(parts)), lfs: true });
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await hub[Symbol.asyncDispose]();
  });
  const publish = (config: object) =>
    hub.files.set("config.json", { bytes: new TextEncoder().encode(JSON.stringify(config)), lfs: false });
  const find = async (options: object = {}) => {
    const { config } = await findModelOf(vit, REPO, { cacheDir, endpoint: hub.url, retryDelay: 1, refresh: true, ...options });
    return { mean: config.mean, std: config.std };
  };

  it("of timm's on the Hub are those of its config.json, else ImageNet's; given ones win, each by itself", async () => {
    expect(await find()).toEqual(IMAGENET);
    const inception = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
    publish({ architecture: "deit_small_patch16_224", num_classes: 3, num_features: 64, pretrained_cfg: inception });
    cacheDir = await temporaryFolder();
    expect(await find()).toEqual(inception);
    expect(await find({ mean: [0.1, 0.2, 0.3] })).toEqual({ ...inception, mean: [0.1, 0.2, 0.3] });
    expect(await find({ mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] })).toEqual({ mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] });
  });

  it("come with a classifier that is loaded by its name", async () => {
    publish({ architecture: "deit_small_patch16_224", num_classes: 3, global_pool: "token", pretrained_cfg: { ...IMAGENET } });
    const device = { adapter: "software", precision: "f32", tune: "off" } as const;
    await using model = await Classifier.load(REPO, { cacheDir, endpoint: hub.url, retryDelay: 1, ...device });
    expect(model.config).toEqual({ ...small, ...IMAGENET });
    expect(model.report.model).toBe(`${REPO}@${COMMIT}`);
    const grey = { data: new Uint8Array(32 * 32 * 3).fill(128), width: 32, height: 32, channels: 3 };
    const { probabilities, label } = await model.classify(grey);
    expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
    expect(["0", "1", "2"]).toContain(label);
  });
});
