/**
 * The trial of the matrix tier, as a program of its own (see gpu/matrix-trial.ts): a small model painted on matrix units must
 * agree with the same one in f32. Exit 0 is a pass; a driver that cannot do it may well end this process first.
 */
import { messageOf } from "../errors.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import { hashedUniform } from "../hub/hashed.js";
import { parseConfig } from "./config.js";
import { StylizingViT } from "./stylizing-vit.js";
import { MODEL_TOLERANCE } from "./tolerance.js";

const config = parseConfig({ image_size: 48, patch_size: 8, embed_dim: 192, depth: 2, num_heads: 3 }, "the trial's model");
const count = config.in_channels * config.image_size ** 2;
const content = hashedUniform("content", count, 1);
const style = hashedUniform("style", count, 1);
const adapter = (process.argv[2] ?? "auto") as AdapterChoice;

async function paint(precision: "matrix" | "f32"): Promise<Float32Array> {
  await using model = await StylizingViT.load("hashed:1", { config, adapter, precision, tune: "off" });
  return model.forward(content, style);
}

try {
  const [half, full] = [await paint("matrix"), await paint("f32")];
  const largest = Math.max(...full.map(Math.abs));
  const error = Math.max(...half.map((value, index) => Math.abs(value - full[index]!))) / largest;
  if (!(error <= MODEL_TOLERANCE.matrix))
    throw new Error(`results on matrix units are off by ${error.toExponential(1)} of the largest value`);
} catch (error) {
  // The last line is the reason that the parent remembers.
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
