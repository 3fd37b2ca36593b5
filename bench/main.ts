import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf, StylizingError } from "../src/errors.js";
import { type Gpu, openGpu } from "../src/gpu/gpu.js";
import { matrixObstacle, type Tier } from "../src/gpu/profile.js";
import { benchAgainst } from "./against.js";
import { benchCold } from "./cold-start.js";
import type { Clock } from "./device-clock.js";
import { describe, printEnvironment } from "./environment.js";
import { drawFigure } from "./figure.js";
import { benchFiles } from "./files.js";
import { benchHost } from "./host.js";
import { benchLadder } from "./ladder/bench.js";
import { benchModel, checkNano } from "./model.js";
import { benchOps } from "./ops.js";
import { type ModelName, type Options, parseOptions, type TrainingName, USAGE, UsageError } from "./options.js";
import { benchParity } from "./parity.js";
import { measurePeak, measureRegisters } from "./peak.js";
import { benchQuality } from "./quality.js";
import { mebibytes, number, percent, Report } from "./report.js";
import { benchRivals } from "./rivals/rivals.js";
import { benchTraining } from "./training.js";

/** By how much the peak may change during the kernels before it is said. */
const DRIFT = 0.15;

/** What is measured where nothing else is asked for: two minutes of a CPU, some more of a GPU. */
function defaults(software: boolean, quick: boolean) {
  if (software) {
    return {
      opModels: ["tiny"],
      opBatches: [1],
      models: (quick ? ["demo"] : ["demo", "tiny"]) as ModelName[],
      batches: (model: ModelName) => (model === "demo" && !quick ? [1, 4] : [1]),
      rivals: (quick ? ["demo"] : ["demo", "tiny"]) as ModelName[],
      rivalBatches: [1],
      training: (quick ? ["nano"] : ["nano", "demo"]) as TrainingName[],
      trainingBatches: [4],
      pairs: quick ? 12 : 60,
      coldModels: ["demo"] as ModelName[],
      effort: { budget: quick ? 150 : 500, fewest: quick ? 3 : 7, most: 200 },
      peakEffort: { budget: quick ? 400 : 1200, fewest: 5, most: 50 },
      files: { models: ["demo"] as ModelName[], batches: [4], budget: quick ? 2000 : 6000, rounds: quick ? 1 : 3 },
    };
  }
  return {
    opModels: quick ? ["base"] : ["tiny", "small", "base"],
    opBatches: quick ? [8] : [1, 64],
    models: (quick ? ["demo", "base"] : ["demo", "tiny", "small", "base"]) as ModelName[],
    batches: () => (quick ? [16] : [1, 8, 64]),
    rivals: (quick ? ["base"] : ["tiny", "base"]) as ModelName[],
    rivalBatches: quick ? [64] : [1, 64],
    training: (quick ? ["base"] : ["tiny", "base"]) as TrainingName[],
    trainingBatches: quick ? [16] : [16, 64],
    pairs: 1000,
    coldModels: ["demo", "base"] as ModelName[],
    effort: { budget: quick ? 20 : 100, fewest: quick ? 10 : 20, most: 500 },
    peakEffort: { budget: quick ? 50 : 200, fewest: 20, most: 200 },
    files: { models: ["base"] as ModelName[], batches: [64], budget: quick ? 1000 : 2000, rounds: 3 },
  };
}

/** Opens a device for a precision, or says why there is none. */
async function open(options: Options, precision: Tier | "auto", report: Report): Promise<Gpu | undefined> {
  try {
    return await openGpu({ adapter: options.adapter, precision });
  } catch (error) {
    if (precision !== "matrix" || !(error instanceof StylizingError) || error.code !== "GPU") throw error;
    report.line(`\nmatrix units are left out: ${messageOf(error)}`);
    return undefined;
  }
}

async function benchTier(gpu: Gpu, first: boolean, options: Options, report: Report, root: string): Promise<void> {
  const { software, tier, timestamps } = gpu.profile;
  const set = defaults(software, options.quick);
  const clock: Clock = timestamps ? "device" : "wall";
  const has = (section: Options["sections"][number]) => options.sections.includes(section);
  const tiers = (report.document.tiers ?? {}) as Record<string, unknown>;
  report.document.tiers = tiers;

  // Before anything else: it refuses a device that executes nothing.
  const peak = await measurePeak(gpu, clock, set.peakEffort);
  tiers[tier] = { clock, notes: gpu.profile.notes, peak };
  report.line(
    `\npeak, ${tier}: ${number(Math.max(peak.registers, peak.gemm))} GFLOP/s and ${number(peak.copy)} GB/s (multiply-adds in registers ${number(peak.registers)}, ` +
      `a GEMM of ${peak.gemmShape} ${number(peak.gemm)}; a copy of ${mebibytes(peak.copyBytes)})`,
  );
  if (has("parity")) await benchParity(gpu, report, root);
  if (has("op")) {
    const models = options.models ?? set.opModels;
    await benchOps(
      gpu,
      { ops: options.ops, models, batches: options.batches ?? set.opBatches, clock, effort: set.effort, peak },
      report,
    );
  }
  if (has("op")) {
    // Percentages of a peak that is no longer true would mislead, and nobody sees that another process has started.
    const again = await measureRegisters(gpu, clock, set.peakEffort);
    const drift = again / peak.registers - 1;
    tiers[tier] = { clock, notes: gpu.profile.notes, peak, drift };
    if (Math.abs(drift) > DRIFT) {
      report.line(
        `careful: registers reach ${number(again)} GFLOP/s now, ${percent(Math.abs(drift))} ${drift > 0 ? "more" : "less"} than before: the machine is busy, these figures are rough`,
      );
    }
  }
  if (has("host") && first) await benchHost(gpu, options.quick, report, root);
  if (has("model")) {
    if (!(await checkNano(gpu, report, root))) return;
    for (const name of options.models ?? set.models) {
      await benchModel(gpu, { name, batches: options.batches ?? set.batches(name), quick: options.quick }, report);
    }
  }
  if (has("rivals") && (has("model") || (await checkNano(gpu, report, root)))) {
    const models = options.rivals ?? options.models ?? set.rivals;
    const { adapter, quick } = options;
    await benchRivals(gpu, { models, batches: options.batches ?? set.rivalBatches, adapter, clock, quick, root }, report);
  }
  if (has("training")) {
    const models = options.training ?? options.models ?? set.training;
    const { trainingRivals: rivals, quick } = options;
    await benchTraining(gpu, { models, batches: options.batches ?? set.trainingBatches, rivals, quick, peak, root }, report);
  }
  if (options.quality && (has("model") || (await checkNano(gpu, report, root)))) {
    const { folder, model, pairs = set.pairs } = options.quality;
    await benchQuality(gpu, { folder, model, pairs, root }, report);
  }
  if (has("files")) {
    const { models, batches, budget, rounds } = set.files;
    const hostBatch = !options.quick;
    for (const name of options.models ?? models)
      await benchFiles(gpu, { name, batches: options.batches ?? batches, budget, rounds, hostBatch }, report);
  }
}

async function measure(options: Options, report: Report, root: string): Promise<void> {
  const probe = await openGpu({ adapter: options.adapter, precision: "f32" });
  const environment = describe(probe, root);
  const { software } = probe.profile;
  report.document.environment = environment;
  report.document.options = options;
  printEnvironment(environment, report);
  if (options.against) {
    // Its device would outlive it while others are timed.
    probe.dispose();
    const { against, adapter, quick, precisions = ["auto"] as const } = options;
    const child = join(root, "bench", "against-child.mjs");
    return await benchAgainst({ ...against, precisions, adapter, quick, root, child }, report);
  }
  const obstacle = matrixObstacle(probe.facts);
  if (!software && obstacle) report.line(`matrix    left out: ${obstacle}`);
  const precisions = options.precisions ?? (software ? ["f32"] : obstacle ? ["f32", "f16"] : ["f32", "f16", "matrix"]);
  probe.dispose();

  const usable: Tier[] = [];
  // The ladder measures the peak that it needs, once for its own device.
  const onlyLadder = options.sections.every((section) => section === "ladder");
  for (const precision of onlyLadder ? [] : precisions) {
    using gpu = await open(options, precision, report);
    if (!gpu) continue;
    await benchTier(gpu, usable.length === 0, options, report, root);
    usable.push(precision);
  }
  if (options.sections.includes("ladder")) {
    using gpu = await openGpu({ adapter: options.adapter, precision: "auto" });
    await benchLadder(gpu, { ...defaults(software, options.quick), ...options, ops: options.ladders }, report, root);
  }
  if (usable.length === 0 && !onlyLadder) report.failures.push("none of the precisions asked for is to be had");
  if (options.sections.includes("cold") && usable.length > 0) {
    const models = options.models ?? defaults(software, options.quick).coldModels;
    for (const precision of precisions)
      await benchCold({ models, precision, adapter: options.adapter, processes: options.quick ? 2 : software ? 3 : 5 }, report);
  }
  const { maxRSS } = process.resourceUsage();
  report.document.peakResidentBytes = maxRSS * 1024;
  report.line(`\npeak memory of this process: ${mebibytes(maxRSS * 1024)}`);
}

/** Runs what the arguments ask for. Exit 0 done, 1 a check failed, 2 wrong usage, 3 no usable adapter. */
export async function run(args: readonly string[], root: string): Promise<void> {
  let options: Options | "help";
  try {
    options = parseOptions(args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (options === "help") {
    process.stdout.write(USAGE);
    return;
  }
  const table = options.json === "-" ? process.stderr : process.stdout;
  // A reader that has seen enough, as `| head` has, is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  const report = new Report((text) => table.write(text));
  try {
    await measure(options, report, root);
  } catch (error) {
    report.failures.push(messageOf(error));
    const noAdapter = error instanceof StylizingError && error.code === "NO_ADAPTER";
    process.exitCode ||= error instanceof UsageError ? 2 : noAdapter ? 3 : 1;
  }
  if (report.failures.length > 0) {
    report.line(`\n${report.failures.length} failed:`);
    for (const failure of report.failures) report.line(`  ${failure}`);
    process.exitCode ||= 1;
  }
  report.document.failures = report.failures;
  const json = `${JSON.stringify(report.document, null, 2)}\n`;
  if (options.json === "-") process.stdout.write(json);
  else if (options.json) write(options.json, json);
  if (options.svg) write(options.svg, drawFigure(report.document));
}

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  process.stderr.write(`wrote ${file}\n`);
}
