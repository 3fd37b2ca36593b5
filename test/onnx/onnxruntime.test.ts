import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { installRivals } from "../../bench/rivals/install.js";
import { type Rival, startOnnxruntime } from "../../bench/rivals/rival.js";
import { hashedUniform } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { exportOnnx, StylizingViT } from "../../src/index.js";
import { type ModelConfig, parseConfig } from "../../src/models/stylizing-vit/config.js";
import { build } from "../command/command.js";
import { loadGolden, relativeError, root } from "../support/fixtures.js";

// The file that is written, run by somebody else's runtime: in a process of its own, which is known to die at times.

/** Of the largest value. */
const BOUND = 1e-4;
const FLOAT16_BOUND = 1e-2;
const PATIENCE = 60_000;

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-onnxruntime-"));
let missing: string | undefined;
let runtime: Rival | undefined;

beforeAll(async () => {
  await build();
  missing = await installRivals(root);
  // No network is a reason to skip; a lock that does not fit its package.json is not.
  if (missing && !/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED|EBADPLATFORM/.test(missing))
    throw new Error(missing);
  if (!missing) runtime = await startOnnxruntime(root, "cpu", false);
}, 400_000);
afterAll(() => {
  runtime?.[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const need = (test: { skip: (note: string) => never }): Rival => runtime ?? test.skip(missing!);

let made = 0;
const fresh = (name: string) => join(folder, `${++made}-${name}`);

interface Batch {
  config: ModelConfig;
  content: Float32Array;
  style: Float32Array;
}

/** `stylized` of a batch by the graph in a file. */
async function run(rival: Rival, model: string, { config, content, style }: Batch): Promise<Float32Array> {
  const { in_channels: channels, image_size: size } = config;
  const shape = [content.length / (channels * size * size), channels, size, size];
  const [inputs, output] = [fresh("inputs.safetensors"), fresh("output.safetensors")];
  await writeSafetensors(inputs, [
    ["content", { shape, data: content }],
    ["style", { shape, data: style }],
  ]);
  await rival.ask("load", { model, inputs }, PATIENCE);
  expect(await rival.ask("check", { output }, PATIENCE)).toEqual({ shape });
  await using file = await SafetensorsFile.open(output);
  return file.read("stylized");
}

describe("onnxruntime runs what is written", () => {
  it("and meets PyTorch and our own kernels: three pairs, then one, with the same file", async (test) => {
    const rival = need(test);
    const { model, config, tensors } = await loadGolden("nano");
    const file = fresh("nano.onnx");
    await exportOnnx(model, file, { config });
    const [content, style, expected] = ["content", "style", "stylized"].map((key) => tensors.get(key)!) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    await using ours = await StylizingViT.load(model, { config, adapter: "software", precision: "f32" });
    const three = await run(rival, file, { config, content, style });
    expect(relativeError(three, expected)).toBeLessThanOrEqual(BOUND);
    expect(relativeError(three, await ours.forward(content, style))).toBeLessThanOrEqual(BOUND);

    const each = content.length / 3;
    const one = { config, content: content.slice(each, 2 * each), style: style.slice(each, 2 * each) };
    const single = await run(rival, file, one);
    expect(relativeError(single, expected.subarray(each, 2 * each))).toBeLessThanOrEqual(BOUND);
    expect(relativeError(single, await ours.forward(one.content, one.style))).toBeLessThanOrEqual(BOUND);
  });

  it.for([
    [
      "grey, no qkv bias, 7 heads of 6, patch 7, odd MLP ratios, kernel 3",
      {
        image_size: 21,
        in_channels: 1,
        patch_size: 7,
        embed_dim: 42,
        num_heads: 7,
        depth: 3,
        mlp_ratio: 2.3,
        bottleneck_mlp_ratio: 1.7,
        qkv_bias: false,
        post_process_conv_kernel_size: 3,
      },
      2,
    ],
    [
      "one layer, one patch, kernel 1",
      { image_size: 8, patch_size: 8, embed_dim: 48, num_heads: 2, depth: 1, post_process_conv_kernel_size: 1 },
      5,
    ],
  ] as const)("in shapes that are nobody's default: %s", async ([, given, batch], test) => {
    // biome-ignore format: a table
    const rival = need(test);
    const config = parseConfig(given, "test");
    const file = fresh("odd.onnx");
    await exportOnnx("hashed:9", file, { config });
    const count = batch * config.in_channels * config.image_size ** 2;
    const [content, style] = [hashedUniform("content", count, 2), hashedUniform("style", count, 2)];
    await using ours = await StylizingViT.load("hashed:9", { config, adapter: "software", precision: "f32" });
    const theirs = await run(rival, file, { config, content, style });
    expect(relativeError(theirs, await ours.forward(content, style))).toBeLessThanOrEqual(BOUND);
  });

  it("in 16-bit floats too, as well as those can", async (test) => {
    const rival = need(test);
    const { model, config, tensors } = await loadGolden("nano");
    const file = fresh("half.onnx");
    await exportOnnx(model, file, { config, half: true });
    const batch = { config, content: tensors.get("content")!, style: tensors.get("style")! };
    const error = relativeError(await run(rival, file, batch), tensors.get("stylized")!);
    expect(error).toBeLessThanOrEqual(FLOAT16_BOUND);
    // They were used.
    expect(error).toBeGreaterThan(BOUND);
  });
});
