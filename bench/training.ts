import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, StylizingError } from "../src/errors.js";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import { timeDispatches } from "../src/gpu/timing.js";
import { findModel } from "../src/models/open.js";
import { type BatchShape, rolled } from "../src/models/stylizing-vit/batch-shape.js";
import { checkConfig, type ModelConfig } from "../src/models/stylizing-vit/config.js";
import { modelParameters } from "../src/models/stylizing-vit/parameters.js";
import { sleepThrough } from "../src/net/patience.js";
import type { TrainingDevice } from "../src/train/device.js";
import type { LossSums } from "../src/train/types.js";
import { benchModelSource, tiles } from "./model.js";
import type { TrainingName } from "./options.js";
import { type Peak, peakFlops } from "./peak.js";
import { duration, mebibytes, number, percent, type Report } from "./report.js";
import { TrainingRivals } from "./rivals/training.js";
import { median, type Summary, summarize } from "./statistics.js";
import { checkTraining, createDevice, LEARNING_RATE } from "./training-check.js";

/** VGG-19's passes and what else belongs to the losses, the model's GEMMs, its attention, and the rest of it. */
const SHARES = ["features", "GEMM", "attention", "rest"] as const;
type Share = (typeof SHARES)[number];

export interface TrainingRow {
  model: string;
  tier: Tier;
  /** Pairs of a step, all on the device at a time. */
  batch: number;
  imageSize: number;
  /** Milliseconds of a step, from bytes on the host to new weights and losses read back. */
  milliseconds: Summary;
  pairsPerSecond: number;
  /** Device time of a step's passes, without folding weights and the optimiser; absent where the device gives no timestamps. */
  shares?: TrainingShare[];
  /** Floating-point operations of a pair's GEMMs, forward and backward, as they are computed here: VGG-19's and the model's. */
  operations: { features: number; GEMM: number };
  memory: { keeping: TrainingMemory; recomputing: TrainingMemory };
}

export interface TrainingShare {
  share: Share;
  dispatches: number;
  milliseconds: number;
  /** Of all passes. */
  part: number;
  /** Of its GEMMs; absent where there are none. */
  gflops?: number;
}

export interface TrainingMemory {
  /** All that is allocated for a step of this batch. */
  bytes: number;
  /** What a further pair takes: the difference to half the batch, by pairs. */
  bytesPerPair: number;
}

/** Configurations of the benches; `nano` is that of the golden case. */
async function trainingConfig(name: TrainingName, root: string): Promise<ModelConfig> {
  if (name !== "nano") {
    const { model, options } = benchModelSource(name);
    return (await findModel(model, options)).config;
  }
  const { config } = JSON.parse(await readFile(join(root, "test", "fixtures", "nano", "case.json"), "utf8"));
  return checkConfig({ ...config, mean: [0.6, 0.45, 0.6], std: [0.2, 0.2, 0.18] });
}

/** Steps over one batch of images, one after another. */
class Steps {
  readonly device: TrainingDevice<BatchShape>;
  readonly shape: BatchShape;
  readonly #images: Uint8Array;
  #expected = Number.POSITIVE_INFINITY;

  constructor(device: TrainingDevice<BatchShape>, images: Uint8Array, batch: number) {
    this.device = device;
    this.shape = rolled(batch, batch);
    this.#images = images;
  }

  /** The four terms of the weights as they are. */
  async losses(): Promise<LossSums> {
    await this.device.clear();
    await this.device.run(this.shape, this.#images, true);
    return this.device.losses();
  }

  /** Milliseconds of a step, its losses read back. */
  async step(): Promise<number> {
    const start = performance.now();
    await this.device.clear();
    await this.device.run(this.shape, this.#images, true);
    await this.device.unfold();
    await this.device.update(LEARNING_RATE);
    await sleepThrough(start, this.#expected);
    await this.device.losses();
    const took = performance.now() - start;
    // The fastest so far: after a slow step the next would be slept through and be slow as well.
    this.#expected = Math.min(took, this.#expected);
    return took;
  }
}

/** Device time by share, the median of `repeats`, and what its GEMMs compute. */
async function profile(
  steps: Steps,
  repeats: number,
): Promise<{ shares?: TrainingShare[]; operations: TrainingRow["operations"] }> {
  const { device, shape } = steps;
  const program = await device.bound(shape, true);
  const { dispatches } = program;
  const flopsOf = (wanted: Share) => dispatches.reduce((sum, { share, flops }) => sum + (share === wanted ? flops : 0), 0);
  const operations = { features: flopsOf("features") / shape.pairs, GEMM: flopsOf("GEMM") / shape.pairs };
  const sums = SHARES.map(() => ({ all: [] as number[], gemms: [] as number[] }));
  for (let i = 0; i < repeats; i++) {
    const times = await timeDispatches(device.gpu, program);
    if (!times || times.some(({ milliseconds }) => Number.isNaN(milliseconds))) return { operations };
    for (const [index, wanted] of SHARES.entries()) {
      const sum = (gemms: boolean) =>
        dispatches.reduce(
          (total, { share, flops }, at) => total + (share === wanted && (flops > 0 || !gemms) ? times[at]!.milliseconds : 0),
          0,
        );
      sums[index]!.all.push(sum(false));
      sums[index]!.gemms.push(sum(true));
    }
  }
  const total = sums.reduce((sum, { all }) => sum + median(all), 0);
  return {
    operations,
    shares: SHARES.map((share, index) => {
      const milliseconds = median(sums[index]!.all);
      const count = flopsOf(share);
      return {
        share,
        dispatches: dispatches.filter((one) => one.share === share).length,
        milliseconds,
        part: milliseconds / total,
        ...(count > 0 ? { gflops: count / median(sums[index]!.gemms) / 1e6 } : {}),
      };
    }),
  };
}

/** Device memory of a step: all of it is allocated with the device. */
async function memoryOf(gpu: Gpu, config: ModelConfig, batch: number, recompute: boolean): Promise<TrainingMemory> {
  const before = gpu.allocatedBytes;
  const allocated = async (pairs: number) => {
    const device = await createDevice(gpu, config, pairs, recompute);
    const bytes = gpu.allocatedBytes - before;
    device.dispose();
    return bytes;
  };
  const half = Math.floor(batch / 2);
  const [whole, less] = [await allocated(batch), await allocated(half)];
  return { bytes: whole, bytesPerPair: Math.round((whole - less) / (batch - half)) };
}

export interface TrainingRequest {
  models: readonly TrainingName[];
  batches: readonly number[];
  /** Whether PyTorch takes turns with us. */
  rivals: boolean;
  quick: boolean;
  peak: Peak;
  root: string;
}

/** A step of training: time, where it goes, memory. The small golden case is checked first. */
export async function benchTraining(gpu: Gpu, request: TrainingRequest, report: Report): Promise<void> {
  const { tier } = gpu.profile;
  const rows = report.section<TrainingRow>(
    "training",
    `Training, ${tier} (host's clock: pixels in, new weights and losses out; losses and gradients checked against PyTorch)`,
  );
  if (!(await checkTraining(gpu, report, request.root))) return;
  await using rivals = request.rivals ? await TrainingRivals.start(request.root, gpu.profile.software, report) : undefined;
  for (const name of request.models) {
    const config = await trainingConfig(name, request.root);
    const weights = modelParameters(config).parameters.initial(0);
    await rivals?.load(config, weights);
    for (const batch of request.batches) {
      const title = `${name} ×${batch}`;
      try {
        await benchBatch(gpu, { title, name, config, weights, batch }, request, rivals, rows, report);
      } catch (error) {
        // Memory that runs out is an answer, whoever's it is.
        if (!(error instanceof StylizingError) || error.code !== "GPU" || gpu.isLost) throw error;
        report.line(`\n${title} does not fit this device: ${messageOf(error)}`);
      }
    }
  }
}

interface Subject {
  title: string;
  name: TrainingName;
  config: ModelConfig;
  weights: Map<string, Float32Array>;
  batch: number;
}

async function benchBatch(
  gpu: Gpu,
  { title, name, config, weights, batch }: Subject,
  { quick, peak }: TrainingRequest,
  rivals: TrainingRivals | undefined,
  rows: TrainingRow[],
  report: Report,
): Promise<void> {
  const { tier, software } = gpu.profile;
  if (batch < 2) {
    report.line(`\n${title}: left out, the style of each image is the next one of its batch`);
    return;
  }
  const device = await createDevice(gpu, config, batch);
  let row: TrainingRow;
  try {
    device.writeWeights(weights);
    const images = tiles(config, batch, 1);
    const steps = new Steps(device, images, batch);
    const losses = await steps.losses();
    // The first step may compile and the second still warms up; both also show whether gradients stay finite.
    await steps.step();
    const once = await steps.step();
    const { brokenAt, gradientNorm } = await device.report();
    if (brokenAt !== undefined || !Number.isFinite(gradientNorm)) {
      report.fail(`${title}, ${tier}`, "a loss or a gradient is not finite");
      return;
    }
    const budget = (software ? 12_000 : 3_000) / (quick ? 2 : 1);
    const fewest = once > budget ? 2 : quick ? 3 : 5;
    const repeats = Math.max(fewest, Math.min(50, Math.round(budget / once)));
    const times: number[] = [];
    for (let i = 0; i < repeats; i++) times.push(await steps.step());
    const milliseconds = summarize(times);
    const profiled = await profile(steps, quick || once > 1000 ? 1 : 3);
    row = {
      model: name,
      tier,
      batch,
      imageSize: config.image_size,
      milliseconds,
      pairsPerSecond: (1000 * batch) / milliseconds.median,
      ...profiled,
      memory: { keeping: { bytes: 0, bytesPerPair: 0 }, recomputing: { bytes: 0, bytesPerPair: 0 } },
    };
    if (rivals) {
      const ours = { losses, step: () => steps.step(), once: milliseconds.median };
      await rivals.compete({ title, model: name, config, batch, tier, images, ours, budget }, report);
    }
  } finally {
    device.dispose();
  }
  row.memory.keeping = await memoryOf(gpu, config, batch, false);
  row.memory.recomputing = await memoryOf(gpu, config, batch, true);
  rows.push(row);
  print(title, row, peak, report);
}

function print(title: string, row: TrainingRow, peak: Peak, report: Report): void {
  const { milliseconds, operations, memory, batch, shares } = row;
  const gflop = (flops: number) => `${number(flops / 1e9)} GFLOP`;
  report.line(
    `\n${title}, ${row.imageSize} px: ${number(row.pairsPerSecond)} pairs/s; a step ${duration(milliseconds.median)} (p10 ${duration(milliseconds.p10)}, p90 ${duration(milliseconds.p90)}, ${milliseconds.samples} steps); ` +
      `a pair's GEMMs: VGG-19 ${gflop(operations.features)}, the model ${gflop(operations.GEMM)}`,
  );
  const each = ({ bytes, bytesPerPair }: TrainingMemory) => `${mebibytes(bytesPerPair)} a pair, ${mebibytes(bytes)} in all`;
  report.line(`memory: ${each(memory.keeping)}; recomputing ${each(memory.recomputing)}`);
  if (!shares) {
    report.line("share of time: this device gives no usable timestamps");
    return;
  }
  report.table([`device time of ${batch} pairs`, 26], ["count", 7], ["time", 9], ["share", 7], ["GFLOP/s", 9], ["of peak", 8]);
  for (const { share, dispatches, milliseconds: time, part, gflops } of shares) {
    report.row(
      share,
      String(dispatches),
      duration(time),
      percent(part),
      gflops === undefined ? "" : number(gflops),
      gflops === undefined ? "" : percent(gflops / peakFlops(peak)),
    );
  }
}
