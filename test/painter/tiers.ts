import { expect } from "vitest";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import { StylizingViT } from "../../src/index.js";
import { loadGolden, relativeError } from "../support/fixtures.js";
import { Oracle } from "../support/oracle.js";

// The 16-bit tiers against PyTorch's f32 results. They may be off by twice what the naive 16-bit run is off by: float64
// throughout, with every operand of a matrix multiplication rounded to float16. Matrix units are emulated in plain WGSL, which
// multiplies the same float16 numbers in the same places.

const LIMIT = 1e-2;

/** Holds a golden case to PyTorch's results in f16 and on matrix units, within twice the naive error. */
export async function meetsIn16Bits(name: string): Promise<void> {
  const { config, tensors, model: path } = await loadGolden(name);
  const [content, style, expected] = ["content", "style", "stylized"].map((key) => tensors.get(key)!);
  const weights = new Map<string, Float32Array>();
  await using checkpoint = await Checkpoint.open(path);
  for (const key of checkpoint.shapes.keys()) weights.set(key, await checkpoint.read(key));
  const oracle = new Oracle(config, weights, { float16: true });
  const each = config.in_channels * config.image_size ** 2;
  const naive = Array.from({ length: content!.length / each }, (_, i) =>
    Array.from(oracle.stylize(content!.subarray(i * each, (i + 1) * each), style!.subarray(i * each, (i + 1) * each))),
  ).flat();
  const allowed = 2 * relativeError(naive, expected!);
  expect(allowed).toBeGreaterThan(1e-4);
  expect(allowed).toBeLessThan(LIMIT);

  for (const precision of ["f16", "matrix"] as const) {
    await using model = await StylizingViT.load(path, { config, adapter: "software", precision });
    expect(model.report.tier).toBe(precision);
    const error = relativeError(await model.forward(content!, style!), expected!);
    expect(error, precision).toBeLessThanOrEqual(allowed);
    expect(error, precision).toBeGreaterThan(1e-5); // it did round
    if (process.env.SHOW_ERRORS) console.log(name, precision, error, "naive", allowed / 2);
  }
}
