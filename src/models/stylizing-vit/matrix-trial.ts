/**
 * The trial of the matrix tier, as a program of its own (see gpu/matrix-trial.ts): a small model painted on matrix units must
 * agree with the same one in f32. Exit 0 is a pass; a driver that cannot do it may well end this process first.
 */
import { messageOf } from "../../errors.js";
import { type AdapterChoice, openGpu } from "../../gpu/gpu.js";
import { HashedWeights, hashedUniform } from "../../hub/hashed.js";
import { writeArray } from "../../net/pixels.js";
import { Runner } from "../../net/runner.js";
import { parseConfig } from "./config.js";
import { parameterShapes } from "./parameters.js";
import { recordMode } from "./programs.js";
import { MODEL_TOLERANCE } from "./tolerance.js";
import { uploadModel } from "./weights.js";

const config = parseConfig({ image_size: 48, patch_size: 8, embed_dim: 192, depth: 2, num_heads: 3 }, "the trial's model");
const count = config.in_channels * config.image_size ** 2;
const adapter = (process.argv[2] ?? "auto") as AdapterChoice;

async function paint(precision: "matrix" | "f32"): Promise<Float32Array> {
  using gpu = await openGpu({ adapter, precision });
  const model = await uploadModel(gpu, config, new HashedWeights(parameterShapes(config), 1));
  const runner = new Runner(gpu);
  const [planes] = await runner.run(async () => {
    const request = { mode: "pair", images: 1, input: "planes", output: "planes" } as const;
    const { program } = await runner.program("pair", "the trial", (r) => recordMode(r, model, request));
    const upload = () => {
      for (const name of ["content", "style"])
        writeArray(gpu.device.queue, runner.arena.buffer(name), hashedUniform(name, count, 1));
    };
    return { label: "trial", programs: [program], upload, reads: [{ buffer: runner.arena.buffer("planes"), bytes: 4 * count }] };
  });
  return new Float32Array(planes!.buffer, planes!.byteOffset, count);
}

try {
  const [matrix, full] = [await paint("matrix"), await paint("f32")];
  const largest = Math.max(...full.map(Math.abs));
  const error = Math.max(...matrix.map((value, index) => Math.abs(value - full[index]!))) / largest;
  if (!(error <= MODEL_TOLERANCE.matrix))
    throw new Error(`results on matrix units are off by ${error.toExponential(1)} of the largest value`);
} catch (error) {
  // The last line is the reason that the parent remembers.
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
