import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { float32ToFloat16Bits } from "../../src/hub/float16.js";
import { HashedWeights } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { exportOnnx, VERSION } from "../../src/index.js";
import { type ModelConfig, parseConfig, presetConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { loadGolden } from "../support/fixtures.js";
import { type OnnxModel, readOnnx } from "./read.js";

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-onnx-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let made = 0;
const fresh = () => join(folder, `${++made}.onnx`);

/** `TensorProto.DataType`, as onnx.proto numbers them. */
const [FLOAT, INT64, FLOAT16] = [1, 7, 10];

const GREY = parseConfig(
  {
    image_size: 21,
    in_channels: 1,
    patch_size: 7,
    embed_dim: 42,
    num_heads: 7,
    depth: 3,
    mlp_ratio: 2.3,
    qkv_bias: false,
    post_process_conv_kernel_size: 3,
  },
  "test",
);

async function exported(model: string, options: Parameters<typeof exportOnnx>[2]): Promise<OnnxModel> {
  const file = fresh();
  const report = await exportOnnx(model, file, options);
  const bytes = readFileSync(file);
  expect(report).toMatchObject({ file, bytes: bytes.length, opset: 17, precision: options?.half ? "f16" : "f32" });
  return readOnnx(bytes);
}

/** What any reader of the graph relies on. */
function checkGraph({ nodes, tensors, inputs, outputs }: OnnxModel): void {
  const known = new Set([...tensors.keys(), ...inputs.map(({ name }) => name)]);
  const used = new Set(outputs.map(({ name }) => name));
  for (const node of nodes) {
    expect(node.outputs).toEqual([node.name]);
    for (const input of node.inputs) {
      expect(known, `${node.name} takes ${input}, which no node before it makes`).toContain(input);
      used.add(input);
    }
    expect(known, `two values are called ${node.name}`).not.toContain(node.name);
    known.add(node.name);
  }
  // Nothing that nobody asked for: dead passes of the last layer, parameters without a use.
  expect([...known].filter((name) => !used.has(name))).toEqual([]);
}

const count = ({ nodes }: OnnxModel, op: string) => nodes.filter((node) => node.op === op).length;

describe("a model as ONNX", () => {
  it("holds the checkpoint's tensors, bit-exact, under their keys, and says what it is", async () => {
    const { model, config } = await loadGolden("nano");
    const onnx = await exported(model, { config, mean: [0.7, 0.5, 0.6], std: [0.2, 0.25, 0.125] });
    checkGraph(onnx);
    expect(onnx).toMatchObject({
      irVersion: 8,
      opset: { domain: "", version: 17 },
      producer: ["stylizing-vit", VERSION],
      properties: { model, mean: "[0.7,0.5,0.6]", std: "[0.2,0.25,0.125]" },
    });
    expect(JSON.parse(onnx.properties.config!)).toMatchObject(config);
    expect(onnx.doc).toContain("mean 0.7, 0.5, 0.6 and standard deviation 0.2, 0.25, 0.125");
    const image = { type: FLOAT, shape: ["batch", 3, 32, 32] };
    expect(onnx.inputs).toEqual([
      { name: "content", ...image },
      { name: "style", ...image },
    ]);
    expect(onnx.outputs).toEqual([{ name: "stylized", ...image }]);

    await using weights = await SafetensorsFile.open(model);
    const keys = [...parameterShapes(config).keys()];
    expect(keys.filter((key) => !onnx.tensors.has(key))).toEqual([]);
    for (const key of keys) {
      const { shape, type, raw } = onnx.tensors.get(key)!;
      expect({ key, shape, type }).toEqual({ key, shape: weights.tensors.get(key)!.shape, type: FLOAT });
      expect(raw.equals(Buffer.from((await weights.read(key)).buffer)), key).toBe(true);
    }
  });

  it.each([
    ["two layers", 2],
    ["one layer, of which little is left", 1],
    ["five layers", 5],
  ])("runs 4L - 3 passes: %s", async (_, depth) => {
    const onnx = await exported("hashed:1", { config: { ...GREY, depth } });
    checkGraph(onnx);
    const passes = 4 * depth - 3;
    expect(count(onnx, "Softmax")).toBe(passes);
    expect(count(onnx, "Erf")).toBe(passes + 1);
    // Of a pass: query, out, two of the MLP. Of a context: key and value; blk(Y, Y) and blk(Q, Y) share theirs.
    const contexts = 3 * (depth - 1) + 1;
    expect(count(onnx, "Gemm")).toBe(4 * passes + 2 * contexts + 2);
    expect(count(onnx, "LayerNormalization")).toBe(2 * passes + contexts + 1);
  });

  it("has the published arithmetic in its attributes", async () => {
    const onnx = await exported("hashed:1", { config: GREY });
    const of = (op: string) => onnx.nodes.filter((node) => node.op === op);
    for (const { attributes } of of("LayerNormalization")) expect(attributes).toEqual({ axis: -1, epsilon: Math.fround(1e-6) });
    for (const { attributes } of of("Softmax")) expect(attributes).toEqual({ axis: -1 });
    for (const { attributes } of of("Gemm")) expect(attributes).toEqual({ transB: 1 });
    expect(of("Conv").map(({ attributes }) => attributes)).toEqual([
      { kernel_shape: [7, 7], strides: [7, 7] },
      { kernel_shape: [7, 7], strides: [7, 7] },
      { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
    ]);
    // Without biases a query is a product of two; its MLP keeps its own.
    const inputs = (name: string) => onnx.nodes.find((node) => node.name === name)!.inputs.length;
    expect([inputs("layer0/stylized/query"), inputs("layer0/stylized/mlp/fc1")]).toEqual([2, 3]);
    const number = (name: string) => onnx.tensors.get(name)!.raw.readFloatLE();
    expect(number("1/sqrt(head)")).toBe(Math.fround(6 ** -0.5));
    expect(number("sqrt(2)")).toBe(Math.fround(Math.SQRT2));
    expect([...onnx.tensors.values()].filter(({ type }) => type === INT64).length).toBeGreaterThan(0);
    expect(onnx.properties).not.toHaveProperty("mean");
  });

  it("in 16-bit floats casts what goes in and what comes out, and rounds parameters to nearest", async () => {
    const onnx = await exported("hashed:4", { config: GREY, half: true });
    checkGraph(onnx);
    expect(onnx.nodes.filter(({ op }) => op === "Cast").map(({ name, attributes }) => [name, attributes.to])).toEqual([
      ["content/half", FLOAT16],
      ["style/half", FLOAT16],
      ["stylized", FLOAT],
    ]);
    const weights = new HashedWeights(parameterShapes(GREY), 4);
    for (const [key, shape] of weights.shapes) {
      const tensor = onnx.tensors.get(key)!;
      expect({ key, shape: tensor.shape, type: tensor.type }).toEqual({ key, shape, type: FLOAT16 });
      expect(tensor.raw.equals(Buffer.from(float32ToFloat16Bits(await weights.read(key)).buffer)), key).toBe(true);
    }
    expect([...onnx.inputs, ...onnx.outputs].every(({ type }) => type === FLOAT)).toBe(true);
  });
});

describe("what cannot be written", () => {
  const large: ModelConfig = { ...presetConfig("base"), depth: 80 };

  it("a model of more than 2 GiB is refused before anything is read or written, with the way that is left", async () => {
    const file = fresh();
    const refused = {
      code: "OUTPUT",
      message: expect.stringMatching(/takes 2\d{9} bytes as ONNX, and one file holds at most 2147483647/),
    };
    await expect(exportOnnx("hashed:1", file, { config: large })).rejects.toMatchObject({
      ...refused,
      fix: expect.stringContaining("16-bit"),
    });
    await expect(exportOnnx("hashed:1", file, { config: { ...large, depth: 160 }, half: true })).rejects.toMatchObject({
      ...refused,
      fix: "Use a smaller model.",
    });
    expect(readdirSync(folder)).not.toContain(file.slice(folder.length + 1));
  });

  it("a file that is there stays as it was when the weights turn out bad, or the signal comes, in the middle", async () => {
    const place = mkdtempSync(join(folder, "kept-"));
    const file = join(place, "model.onnx");
    writeFileSync(file, "as it was");
    const weights = new HashedWeights(parameterShapes(GREY), 1);
    const bad = join(place, "bad.safetensors");
    await writeSafetensors(
      bad,
      [...weights.shapes].map(([key, shape]) => {
        const data = async () => {
          const values = await weights.read(key);
          return key === "bottleneck.fc1.bias" ? values.fill(Number.NaN, 3, 4) : values;
        };
        return [key, { shape, data }] as const;
      }),
    );
    await expect(exportOnnx(bad, file, { config: GREY })).rejects.toMatchObject({
      code: "CHECKPOINT",
      message: expect.stringContaining("NaN in bottleneck.fc1.bias, element 3"),
    });
    const controller = new AbortController();
    const reason = new Error("enough");
    const loaded: number[] = [];
    const stopped = exportOnnx("hashed:1", file, {
      config: GREY,
      signal: controller.signal,
      onProgress: (progress) => {
        loaded.push(progress.loaded);
        if (loaded.length === 10) controller.abort(reason);
      },
    });
    await expect(stopped).rejects.toBe(reason);
    expect(loaded).toHaveLength(10);
    expect(readFileSync(file, "utf8")).toBe("as it was");
    expect(readdirSync(place).sort()).toEqual(["bad.safetensors", "model.onnx"]);
  });

  it("weights that lack a tensor or have another shape", async () => {
    const { model, config } = await loadGolden("nano");
    const file = fresh();
    await expect(exportOnnx(model, file, { config: { ...config, depth: 3 } })).rejects.toMatchObject({ code: "CHECKPOINT" });
    await expect(exportOnnx(model, file, { config: { ...config, mlp_ratio: 2 } })).rejects.toMatchObject({ code: "CONFIG" });
  });
});
