import type { Gpu } from "../src/gpu/gpu.js";
import { Checkpoint } from "../src/hub/checkpoint.js";
import { findModel } from "../src/models/open.js";
import { asFloats } from "../src/net/pixels.js";
import { Engine } from "../src/painter/engine.js";
import { type Golden, goldenFolder, loadGolden } from "../test/support/fixtures.js";
import { Oracle } from "../test/support/oracle.js";
import type { Report } from "./report.js";
import { relativeError } from "./statistics.js";

/** Cases that PyTorch's reference computed. nano comes with the project, the others where there is a `shared` folder beside it. */
const CASES = ["nano", "mini", "tiny", "small", "base"] as const;
/** On a CPU the larger ones take minutes. */
const SMALL = 2;
const BOUNDS = { f32: 1e-4, f16: 1e-2, matrix: 1e-2 } as const;
/** What a 16-bit tier may be off by, in errors of the naive 16-bit run. */
const NAIVE = 2;

export interface ParityRow {
  case: string;
  tier: string;
  batch: number;
  /** Of the largest value of PyTorch's f32 result. */
  error: number;
  bound: number;
  /** Error of float64 arithmetic on operands rounded to float16; computed for the small cases. */
  naive?: number;
}

/** What rounding every operand of every matrix multiplication to float16 costs, all else exact. */
async function naiveError({ config, tensors, model }: Golden): Promise<number> {
  const weights = new Map<string, Float32Array>();
  await using checkpoint = await Checkpoint.open(model);
  for (const key of checkpoint.shapes.keys()) weights.set(key, await checkpoint.read(key));
  const oracle = new Oracle(config, weights, { float16: true });
  const [content, style] = [tensors.get("content")!, tensors.get("style")!];
  const each = config.in_channels * config.image_size ** 2;
  const results: number[] = [];
  for (let at = 0; at < content.length; at += each)
    results.push(...oracle.stylize(content.subarray(at, at + each), style.subarray(at, at + each)));
  return relativeError(results, tensors.get("stylized")!);
}

/** Every golden case in the device's tier, against PyTorch. */
export async function benchParity(gpu: Gpu, report: Report, root: string): Promise<void> {
  const { tier, software, notes } = gpu.profile;
  const rows = report.section<ParityRow>(
    "parity",
    `Parity with PyTorch, ${tier}${notes.length > 0 ? ` (${notes.join("; ")})` : ""}`,
  );
  report.table(["case", 12], ["batch", 6], ["error", 9], ["allowed", 9], ["naive 16-bit error", 19]);
  for (const name of software ? CASES.slice(0, SMALL) : CASES) {
    if (!goldenFolder(name, root)) {
      report.line(`${name}: its golden file is not here`);
      continue;
    }
    const golden = await loadGolden(name, root);
    const { config, tensors, batch } = golden;
    const found = await findModel(golden.model, { config });
    await using source = await found.open();
    const engine = await Engine.create(gpu, config, source);
    try {
      const [content, style] = [tensors.get("content")!, tensors.get("style")!];
      const result = await engine.run({ mode: "pair", images: batch, input: "planes", output: "planes", content, style });
      const error = relativeError(asFloats(result), tensors.get("stylized")!);
      const naive = tier === "f32" || config.image_size > 64 ? undefined : await naiveError(golden);
      const bound = Math.min(BOUNDS[tier], naive === undefined ? Number.POSITIVE_INFINITY : NAIVE * naive);
      if (!(error <= bound)) {
        report.fail(
          `parity of ${name}, ${tier}`,
          `off by ${error.toExponential(2)} of the largest value, ${bound.toExponential(1)} allowed`,
        );
        continue;
      }
      rows.push({ case: name, tier, batch, error, bound, ...(naive === undefined ? {} : { naive }) });
      report.row(name, String(batch), error.toExponential(1), bound.toExponential(1), naive?.toExponential(1) ?? "");
    } finally {
      engine.dispose();
    }
  }
}
