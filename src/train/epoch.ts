import { join } from "node:path";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import type { Judge } from "../models/task.js";
import { RUN_FILES, type RunState } from "./checkpoint.js";
import type { Kind } from "./prepare.js";
import type { EpochReport, LossReport } from "./progress.js";
import { type LossSums, noLosses, type Recipe, type TrainingEngine, totalLoss } from "./types.js";
import type { ValidationSet } from "./validation.js";

/** Sheets that a run keeps, beside the latest. */
const KEPT_SHEETS = 10;

/** Validation batches of two or more, as even as can be; an odd image that batches of two leave over is left out. */
export function evaluationBatches(count: number, batch: number): { from: number; count: number }[] {
  const usable = batch === 2 ? count - (count % 2) : count;
  const parts = Math.ceil(usable / batch);
  return Array.from({ length: parts }, (_, i) => {
    const from = Math.floor((i * usable) / parts);
    return { from, count: Math.floor(((i + 1) * usable) / parts) - from };
  });
}

/** Writes what there is to look at after an epoch, and keeps some of all sheets. @throws StylizingError `OUTPUT` */
export async function writeFigures(out: string, judge: Judge, { epoch, validation }: EpochReport, epochs: number): Promise<void> {
  const { sheet, files } = await judge.figures({
    title: `Epoch ${epoch} of ${epochs}`,
    footer: `validation loss ${validation.total.toPrecision(4)}`,
  });
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(out, name), content);
  if (!sheet) return;
  await writeFileAtomic(join(out, RUN_FILES.sheet), sheet);
  if (epoch !== 1 && epoch !== epochs && epoch % Math.ceil(epochs / KEPT_SHEETS) !== 0) return;
  const folder = join(out, RUN_FILES.sheets);
  await ensureOutputFolder(folder);
  await writeFileAtomic(join(folder, `epoch-${String(epoch).padStart(4, "0")}.png`), sheet);
}

/** Whether a value of what chooses the best epoch is better than the best so far; anything is better than NaN. */
export function isBetter(value: number, best: number, way: "lowest" | "highest"): boolean {
  if (Number.isNaN(best)) return !Number.isNaN(value);
  return way === "highest" ? value > best : value < best;
}

/** The validation images in fixed batches. @returns nothing where the signal was raised. */
export async function evaluate(
  engine: TrainingEngine,
  task: Kind,
  { config, recipe }: RunState,
  { files, images, labels, placements }: ValidationSet,
  signal: AbortSignal | undefined,
): Promise<{ losses: LossReport; judge: Judge } | undefined> {
  const names = files.map(({ name }) => name);
  const each = config.image_size ** 2 * config.in_channels;
  const batches = evaluationBatches(files.length, recipe.batch);
  const total = batches.reduce((sum, part) => sum + part.count, 0);
  const sums = noLosses(Object.keys(recipe.lossWeights));
  const judge = task.judge(total, config);
  for (const { from, count } of batches) {
    if (signal?.aborted) return undefined;
    const own = labels?.subarray(from, from + count);
    const { losses, outputs } = await engine.evaluate(images.subarray(from * each, (from + count) * each), own);
    for (const term of Object.keys(sums)) sums[term]! += losses[term]! * count;
    judge.add({ config, names, images, labels, placements, from, count, outputs });
  }
  const means = Object.fromEntries(Object.entries(sums).map(([term, sum]) => [term, sum / total]));
  return { losses: withTotal(means, recipe.lossWeights), judge };
}

/** Where a warm-up begins. */
const COLDEST = 1e-8;

/**
 * The learning rate of a step. Along a cosine from `lr` to zero, once an epoch; with
 * `schedule: "step"` every step: a linear warm-up over `warmup` steps, but at most a tenth of all, then a cosine to `minLr`.
 * @param step of the epoch; both from 0
 */
export function learningRateOf(
  { lr, epochs, schedule, warmup = 0, minLr = 0 }: Pick<Recipe, "lr" | "epochs" | "schedule" | "warmup" | "minLr">,
  { epoch, step, steps }: { epoch: number; step: number; steps: number },
): number {
  if (schedule !== "step") return 0.5 * lr * (1 + Math.cos((Math.PI * epoch) / epochs));
  const [done, all] = [epoch * steps + step, epochs * steps];
  const warm = Math.min(warmup, Math.floor(all / 10));
  if (done < warm) return COLDEST + ((lr - COLDEST) * (done + 1)) / warm;
  return minLr + 0.5 * (lr - minLr) * (1 + Math.cos((Math.PI * (done - warm)) / (all - warm)));
}

export const withTotal = (losses: LossSums, weights: LossSums): LossReport =>
  ({ ...losses, total: totalLoss(losses, weights) }) as unknown as LossReport;
