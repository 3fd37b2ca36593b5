import { join } from "node:path";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import { contactSheet, type SheetRow } from "../image/sheet.js";
import { RUN_FILES, type RunState } from "./checkpoint.js";
import type { Kind } from "./prepare.js";
import type { EpochReport, LossReport } from "./progress.js";
import { type LossSums, noLosses, type TrainingEngine, totalLoss } from "./types.js";
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

/** Writes the sheet of an epoch, and keeps some of all. @throws StylizingError `OUTPUT` */
export async function writeSheet(
  out: string,
  rows: readonly SheetRow[],
  { epoch, validation }: EpochReport,
  epochs: number,
): Promise<void> {
  const sheet = await contactSheet(rows, {
    layout: "pairs",
    title: `Epoch ${epoch} of ${epochs}`,
    footer: `validation loss ${validation.total.toPrecision(4)}`,
  });
  await writeFileAtomic(join(out, RUN_FILES.sheet), sheet);
  if (epoch !== 1 && epoch !== epochs && epoch % Math.ceil(epochs / KEPT_SHEETS) !== 0) return;
  const folder = join(out, RUN_FILES.sheets);
  await ensureOutputFolder(folder);
  await writeFileAtomic(join(folder, `epoch-${String(epoch).padStart(4, "0")}.png`), sheet);
}

/** The validation images in fixed batches. @returns nothing where the signal was raised. */
export async function evaluate(
  engine: TrainingEngine,
  task: Kind,
  { config, recipe }: RunState,
  { files, images, placements }: ValidationSet,
  signal: AbortSignal | undefined,
): Promise<{ losses: LossReport; metrics: Record<string, number>; rows: SheetRow[] } | undefined> {
  const names = files.map(({ name }) => name);
  const each = config.image_size ** 2 * config.in_channels;
  const batches = evaluationBatches(files.length, recipe.batch);
  const total = batches.reduce((sum, part) => sum + part.count, 0);
  const sums = noLosses(Object.keys(recipe.lossWeights));
  const judge = task.judge(total);
  for (const { from, count } of batches) {
    if (signal?.aborted) return undefined;
    const { losses, outputs } = await engine.evaluate(images.subarray(from * each, (from + count) * each));
    for (const term of Object.keys(sums)) sums[term]! += losses[term]! * count;
    judge.add({ config, names, images, placements, from, count, outputs });
  }
  const means = Object.fromEntries(Object.entries(sums).map(([term, sum]) => [term, sum / total]));
  return { losses: withTotal(means, recipe.lossWeights), ...judge.result() };
}

/** The learning rate of an epoch, from 0. */
export function cosine(lr: number, epoch: number, epochs: number): number {
  return 0.5 * lr * (1 + Math.cos((Math.PI * epoch) / epochs));
}

export const withTotal = (losses: LossSums, weights: LossSums): LossReport =>
  ({ ...losses, total: totalLoss(losses, weights) }) as unknown as LossReport;
