import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { createWriter } from "../datasets/open.js";
import type { DataFormat, DataSet } from "../datasets/types.js";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, removePartial, removeStale } from "../image/atomic-write.js";
import { isBelow, realOf } from "../image/folder.js";
import { MODEL_METHOD } from "../restyle/methods.js";
import { VERSION } from "../version.js";
import type { AugmentOptions } from "./augment-options.js";
import { AugmentRun, type Counts, FEW } from "./augment-run.js";
import { Augmenter } from "./augmenter.js";
import type { ErrorReport } from "./failures.js";
import { headerIn, MANIFEST, MANIFEST_FORMAT, type ManifestHeader, ManifestWriter, QUEUE_FOLDER } from "./manifest.js";
import type { FailedShard } from "./queue/coordinator.js";
import type { SharedRun } from "./queue/shared-run.js";

export interface AugmentDataSetOptions extends AugmentOptions {
  data: string;
  out: string;
  /** By default the input's. */
  format?: DataFormat | undefined;
  /** Of each sample; default 1. */
  copies?: number | undefined;
  keepOriginals?: boolean | undefined;
  /** Begins anew where results are there already. */
  overwrite?: boolean | undefined;
  /** Outputs of a shard, for formats that have shards; default 256. */
  shardSize?: number | undefined;
  /** A Redis, `redis://HOST:PORT[/DATABASE]`: workers that take from it do all, see docs/queue.md. */
  queue?: string | undefined;
  /** Samples done, of all; `detail` says who does them where there are several. */
  onProgress?: ((done: number, total: number, detail?: string) => void) | undefined;
}

export interface AugmentReport extends Omit<Counts, "add"> {
  samples: number;
  /** Samples that were done by a run before. */
  skipped: number;
  format: DataFormat;
  manifest: string;
  adapters: Record<string, unknown>;
  stopReason?: ErrorReport;
  /** Groups that no worker could make; the same command tries them again. */
  failedShards?: FailedShard[];
  milliseconds: number;
  imagesPerSecond: number;
}

const A_SHARD = 256;
const SHARDED: readonly DataFormat[] = ["wds", "parquet", "npz"];

/**
 * Multiplies a data set: each sample in other styles, with its labels and masks, and a manifest of what was done. The same command goes
 * on where one was killed.
 * @throws StylizingError where nothing at all can be done; the signal's reason when aborted, and what is written then stays.
 */
export async function augmentDataSet(options: AugmentDataSetOptions, signal?: AbortSignal): Promise<AugmentReport> {
  const start = performance.now();
  const { out, copies = 1, keepOriginals = false, overwrite = false, shardSize = A_SHARD, onNote } = options;
  for (const [name, value] of [
    ["copies", copies],
    ["shardSize", shardSize],
  ] as const)
    if (!Number.isSafeInteger(value) || value < 1)
      throw new StylizingError("ARGUMENT", `${name} is ${value}.`, "Give a positive whole number.");
  await refuseNested(options.data, out);
  await using shared: SharedRun | undefined =
    options.queue === undefined
      ? undefined
      : await (await import("./queue/shared-run.js")).SharedRun.open(options.queue, options);
  await using augmenter = await Augmenter.open(options, signal);
  const data = augmenter.data!;
  const { format = data.format } = options;
  const per = copies + (keepOriginals ? 1 : 0);
  const group = Math.max(1, Math.floor((SHARDED.includes(format) ? shardSize : FEW) / per));
  const sizes = { group, copies, keepOriginals };
  await refuseStrangers(out, overwrite);
  await ensureOutputFolder(out);
  await removeStale(out);
  const about = headerOf(augmenter, data, { ...options, format, copies, keepOriginals }, group);
  const begun = overwrite ? undefined : await headerIn(out);
  if (shared) await shared.begin(about, data, { out, overwrite }, signal);
  else if (overwrite) await removeQueueFolder(out);
  const adapters = shared ? (begun?.adapters ?? (await shared.adapters(signal))) : await augmenter.adapters();
  const manifest = await ManifestWriter.open(out, { ...about, adapters }, overwrite);
  await using writer = await createWriter(format, out, { like: data, onNote });
  const total = data.count * per;
  const done = manifest.lines === total ? total : Math.floor(manifest.lines / (group * per)) * group * per;
  if (done < manifest.lines) await manifest.keep(done);
  const run = new AugmentRun(augmenter, writer, manifest, sizes, options);
  const skipped = done / per;
  if (skipped > 0) onNote?.(`${skipped} of ${data.count} samples are in ${out} already`);
  options.onProgress?.(skipped, data.count, shared && "");
  let failedShards: FailedShard[] = [];
  if (shared && done < total) {
    await writer.open?.();
    const each = Math.max(1, Math.floor(shardSize / (group * per)));
    failedShards = await shared.run({ from: skipped / group, each, adapters, sink: manifest, tally: run }, signal);
  } else if (done < total) await run.run(skipped, data.count, signal);
  const isWhole = !run.failures.stopReason && failedShards.length === 0;
  if (isWhole) {
    await writer.finish(Math.ceil(data.count / group));
    // Workers that were killed left some.
    if (shared) await removePartial(out);
    await removeQueueFolder(out);
  }
  const milliseconds = Math.round(performance.now() - start);
  const { counts, failures } = run;
  return {
    ...{ samples: data.count, ...counts, skipped, format, manifest: path.join(out, MANIFEST), adapters },
    ...(failures.stopReason ? { stopReason: failures.stopReason } : {}),
    ...(failedShards.length > 0 ? { failedShards } : {}),
    ...{ milliseconds, imagesPerSecond: Number(((counts.outputs * 1000) / milliseconds).toFixed(3)) },
  };
}

/** What lies there of another run: its workers, who look for it before they write, then write no more. */
const removeQueueFolder = (out: string) => rm(path.join(out, QUEUE_FOLDER), { recursive: true, force: true });

/** @throws StylizingError `ARGUMENT` where results would be read as data, or data overwritten */
async function refuseNested(data: string, out: string): Promise<void> {
  const [input, output] = await Promise.all([realOf(data), realOf(out)]);
  if (isBelow(output, input) || isBelow(input, output))
    throw new StylizingError("ARGUMENT", `${out} and ${data} lie in one another.`, "Write the results beside the data set.");
}

/** @throws StylizingError `ARGUMENT` where there is something else than results */
async function refuseStrangers(out: string, overwrite: boolean): Promise<void> {
  if (overwrite) return;
  const names = (await readdir(out).catch((): string[] => [])).filter(
    (name) => !name.endsWith(".partial") && name !== QUEUE_FOLDER,
  );
  if (names.length === 0 || names.includes(MANIFEST)) return;
  throw new StylizingError(
    "ARGUMENT",
    `${out} holds ${names.length === 1 ? names[0] : `${names.length} files and folders`}, and no ${MANIFEST}.`,
    "Give an empty folder, or --overwrite to write there nevertheless.",
  );
}

function headerOf(
  { plan }: Augmenter,
  data: DataSet,
  options: AugmentDataSetOptions & { copies: number; keepOriginals: boolean },
  group: number,
): Omit<ManifestHeader, "adapters"> {
  const { batch, model, methods, style, exclude, ...rest } = plan;
  const { domain, split, label, maskSuffix, copies, keepOriginals, format = data.format } = options;
  const choices = Object.entries({ domain, split, label, maskSuffix }).filter(([, value]) => value !== undefined);
  return {
    "stylizing-vit manifest": MANIFEST_FORMAT,
    version: VERSION,
    input: { path: path.resolve(data.path), format: data.format, ...Object.fromEntries(choices) },
    output: { format, copies, keepOriginals, group },
    pipeline: {
      methods: methods.map(({ method, weight, params }) => ({ name: method.name, weight, params })),
      ...rest,
      ...(style.length > 0 ? { style: style.map((one) => path.resolve(one)) } : {}),
      ...(exclude.length > 0 ? { exclude: exclude.map((one) => path.resolve(one)) } : {}),
      ...(methods.some(({ method }) => method === MODEL_METHOD) ? { model } : {}),
      // Whatever the size of a batch, and not what a measurement preferred.
      kernels: "fixed",
    },
  };
}
