import { describe, expect, it } from "vitest";
import { type ModelConfig, presetConfig } from "../../src/models/stylizing-vit/config.js";
import { modelParameters, parameterShapes, sineCosinePositions } from "../../src/models/stylizing-vit/parameters.js";

const config: ModelConfig = { ...presetConfig("tiny"), depth: 2 };
const weights = modelParameters(config).parameters.initial(7);

const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);

/** A uniform tensor: within its bound, near both ends of it, centred, and as wide as uniform numbers are. */
function expectUniform(key: string, bound: number): void {
  const values = weights.get(key)!;
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
  const least = Math.min(...values.slice(0, 50_000));
  const most = Math.max(...values.slice(0, 50_000));
  expect(Math.max(-least, most), key).toBeLessThanOrEqual(bound * 1.000001);
  expect(Math.min(-least, most), key).toBeGreaterThan(bound * (1 - 12 / Math.min(n, 50_000)));
  // Five standard errors of the mean and of the variance of n uniform numbers.
  expect(Math.abs(mean), key).toBeLessThan((5 * bound) / Math.sqrt(3 * n));
  expect(Math.abs(variance / (bound ** 2 / 3) - 1), key).toBeLessThan(5 * Math.sqrt(0.8 / n));
}

describe("initialWeights", () => {
  it("has every parameter in its shape, and nothing else", () => {
    const shapes = parameterShapes(config);
    expect([...weights.keys()]).toEqual([...shapes.keys()]);
    for (const [key, shape] of shapes) expect(weights.get(key)!.length, key).toBe(shape.reduce((a, b) => a * b, 1));
    for (const [key, values] of weights) expect(values.every(Number.isFinite), key).toBe(true);
  });

  it("spreads matrices as the recipe says", () => {
    const xavier = (inputs: number, outputs: number) => Math.sqrt(6 / (inputs + outputs));
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"])
      expectUniform(`encoder.blocks.1.attn.${name}.weight`, xavier(192, 192));
    expectUniform("encoder.blocks.0.mlp.fc1.weight", xavier(192, 768));
    expectUniform("encoder.blocks.0.mlp.fc2.weight", xavier(768, 192));
    expectUniform("encoder.patch_embed.proj.weight", xavier(3 * 16 * 16, 192));
    expectUniform("encoder.patch_embed.proj.bias", 1 / Math.sqrt(3 * 16 * 16));
    expectUniform("bottleneck.fc1.weight", 1 / Math.sqrt(192));
    expectUniform("bottleneck.fc1.bias", 1 / Math.sqrt(192));
    expectUniform("bottleneck.fc2.weight", 1 / Math.sqrt(768));
    expectUniform("bottleneck.fc2.bias", 1 / Math.sqrt(768));
    expectUniform("post_process_conv.weight", 1 / Math.sqrt(3 * 5 * 5));
  });

  it("sets norms to one and zero, biases of the encoder to zero", () => {
    for (const [key, values] of weights) {
      if (/norm.*weight$/.test(key)) expect(new Set(values), key).toEqual(new Set([1]));
      if (/^encoder\.(blocks|norm).*bias$/.test(key)) expect(new Set(values), key).toEqual(new Set([0]));
    }
  });

  it("draws CLS from a normal distribution of deviation 0.02", () => {
    const small = { ...config, image_size: 8, patch_size: 8, embed_dim: 48, num_heads: 1, depth: 1 };
    const cls = Array.from({ length: 200 }, (_, seed) => [
      ...modelParameters(small).parameters.initial(seed).get("encoder.cls_token")!,
    ]).flat();
    const moment = (power: number) => cls.reduce((sum, x) => sum + (x / 0.02) ** power, 0) / cls.length;
    const error = 5 / Math.sqrt(cls.length);
    expect(Math.abs(moment(1))).toBeLessThan(error);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(error * Math.sqrt(2));
    expect(Math.abs(moment(3))).toBeLessThan(error * Math.sqrt(15));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(error * Math.sqrt(96));
  });

  it("is the same for a seed, and other for another seed and for another key", () => {
    const again = modelParameters(config).parameters.initial(7);
    expect([...again.keys()]).toEqual([...weights.keys()]);
    for (const [key, values] of again) expect(bytes(values).equals(bytes(weights.get(key)!)), key).toBe(true);
    const other = modelParameters(config).parameters.initial(8);
    for (const key of ["encoder.cls_token", "encoder.blocks.0.attn.q_proj.weight", "post_process_conv.weight"])
      expect(other.get(key), key).not.toEqual(weights.get(key));
    expect(other.get("encoder.pos_embed")).toEqual(weights.get("encoder.pos_embed"));
    const q = weights.get("encoder.blocks.0.attn.q_proj.weight");
    expect(weights.get("encoder.blocks.0.attn.k_proj.weight")).not.toEqual(q);
    expect(weights.get("encoder.blocks.1.attn.q_proj.weight")).not.toEqual(q);
    expect(() => modelParameters(config).parameters.initial(1.5)).toThrow(/not an integer/);
  });

  it("takes positions from MAE's sines and cosines", () => {
    // numpy: get_2d_sincos_pos_embed(8, 3, cls_token=True), rows 0, 1, 6 (row 1, column 2) and 8 (row 2, column 1).
    const table = sineCosinePositions(8, 3);
    const row = (i: number) => [...table.subarray(i * 8, i * 8 + 8)].map((x) => Number(x.toFixed(6)));
    expect(row(0)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(row(1)).toEqual([0, 0, 1, 1, 0, 0, 1, 1]);
    expect(row(6)).toEqual([0.909297, 0.019999, -0.416147, 0.9998, 0.841471, 0.01, 0.540302, 0.99995]);
    expect(row(8)).toEqual([0.841471, 0.01, 0.540302, 0.99995, 0.909297, 0.019999, -0.416147, 0.9998]);
    // A width that is no multiple of 4: the last component of each half stays zero.
    const odd = sineCosinePositions(6, 2);
    expect([...odd.subarray(4 * 6, 5 * 6)].map((x) => Number(x.toFixed(6)))).toEqual([
      0.841471, 0.540302, 0, 0.841471, 0.540302, 0,
    ]);
  });
});
