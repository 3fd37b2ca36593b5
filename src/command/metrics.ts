import type { Command } from "commander";
import { type MeasureReport, measureFiles, type SetReport } from "../augment/measure-files.js";
import { VGG16 } from "../augment/networks.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import { ensureOutputFile, writeFileAtomic } from "../image/atomic-write.js";
import { someOf } from "../image/folder.js";
import type { LoadProgress } from "../models/load.js";
import { Progress } from "./progress.js";
import {
  adapterOption,
  addReadFlags,
  countFromZero,
  deviceOption,
  EXIT,
  interruptible,
  note,
  positiveInteger,
  printJson,
  sourceOptions,
} from "./shared.js";
import { type Column, table } from "./table.js";

interface MetricsFlags {
  a: string;
  b: string;
  pairs?: boolean;
  features?: string[];
  vgg?: string;
  lpips?: string;
  page?: number | "all";
  white?: number | "auto";
  batch?: number;
  workers?: number;
  adapter?: AdapterChoice;
  /** A file; `-` or nothing: stdout. */
  json?: string | true;
}

const toStdout = (json: MetricsFlags["json"]): boolean => json === true || json === "-";

async function run({ json, batch, ...flags }: MetricsFlags, signal: AbortSignal): Promise<MeasureReport> {
  if (json !== undefined && !toStdout(json)) await ensureOutputFile(json as string);
  let bar: Progress | undefined;
  const onProgress = (done: number, total: number) => {
    bar ??= new Progress("measuring", total, "images");
    bar.update(done);
  };
  const { onProgress: onLoad } = sourceOptions({ model: VGG16 });
  try {
    return await measureFiles(
      { ...flags, batchSize: batch, onNote: note, onProgress, onLoad: onLoad as (progress: LoadProgress) => void },
      signal,
    );
  } finally {
    bar?.stop();
  }
}

const COLUMNS: readonly Column[] = [
  { head: "metric", align: "left" },
  { head: "value", align: "right" },
  { head: "better", align: "left" },
  { head: "of", align: "left" },
  { head: "what it says", align: "left", keep: "start" },
];

const digits = (value: number): string => (value === 0 ? "0" : String(Number(value.toPrecision(4))));

/** The metrics, a line each; `width` columns at most, where it is given. */
export function metricsTable(report: Omit<MeasureReport, "versions" | "milliseconds">, width?: number): string {
  const { psnr, ssim, lpips, wasserstein, frechet, artFid } = report;
  const rows: string[][] = [];
  const sets = ({ images: { a, b } }: { images: { a: number; b: number } }) => `${a} and ${b} images`;
  if (psnr) {
    const value = psnr.value === null ? "infinite" : `${digits(psnr.value)} dB`;
    const equal = psnr.equal > 0 ? `, ${psnr.equal} equal ones left out` : "";
    rows.push(["PSNR", value, "higher", `${psnr.pairs} pairs${equal}`, "how near pixels are"]);
  }
  if (ssim) rows.push(["SSIM", digits(ssim.value!), "higher", `${ssim.pairs} pairs`, "how alike structures are; 1: equal"]);
  if (lpips)
    rows.push([
      "LPIPS",
      digits(lpips.value!),
      "lower",
      `${lpips.pairs} pairs`,
      `how different they look, by ${lpips.trunk}; 0: alike`,
    ]);
  if (wasserstein) {
    const channels = wasserstein.channels.map(digits).join(", ");
    const says = `how far intensities are apart, of [0, 1]; red, green, blue: ${channels}`;
    rows.push(["Wasserstein", digits(wasserstein.value!), "lower", sets(wasserstein), says]);
  }
  for (const one of frechet)
    rows.push(["Fréchet", digits(one.value!), "lower", sets(one), `how far features are apart: ${one.features}; no FID`]);
  if (artFid)
    rows.push([
      "ArtFID",
      digits(artFid.value!),
      "lower",
      "both",
      "(1 + LPIPS) · (1 + Fréchet of VGG-16); 1: equal; not the published one's network",
    ]);
  return table(COLUMNS, rows, width);
}

/** What was left out of a set, on stderr. */
function told(what: string, { path, images, failed, withoutPartner = [] }: SetReport): void {
  note(`${what}: ${images} images of ${path}${failed.length > 0 ? ` (${failed.length} failed)` : ""}`);
  if (withoutPartner.length > 0) note(`${what}: ${withoutPartner.length} without a partner: ${someOf(withoutPartner)}`);
}

/** Prints the metrics and says on stderr what was left out; what failed was said when it did. @returns the exit code. */
export async function concludeMetrics(report: MeasureReport, { json }: Pick<MetricsFlags, "json">): Promise<number> {
  const { a, b, pairs = [], missing } = report;
  if (json !== undefined && !toStdout(json)) await writeFileAtomic(json as string, `${JSON.stringify(report, null, 2)}\n`);
  if (toStdout(json)) printJson(report);
  else process.stdout.write(metricsTable(report, process.stdout.isTTY ? process.stdout.columns : undefined));
  told("a", a);
  told("b", b);
  for (const { metric, problem, fix } of missing) note(`left out: ${metric}. ${problem} ${fix}`);
  for (const { images, features, value } of report.frechet) {
    const fewest = Math.min(images.a, images.b);
    const numbers = Number(/, (\d+)(?:,|$)/.exec(features)?.[1] ?? 0);
    if (value !== null && fewest <= numbers)
      note(`Fréchet: ${fewest} images are few for ${numbers} numbers: compare it only with that of as many images`);
  }
  if (json !== undefined && !toStdout(json)) note(`JSON: ${json}`);
  const failed = a.failed.length + b.failed.length + pairs.filter(({ error }) => error !== undefined).length;
  return failed > 0 ? EXIT.failed : EXIT.done;
}

export function addMetrics(program: Command): void {
  const command = program
    .command("metrics")
    .description("say how alike two sets of images are, and with --pairs their images one by one")
    .requiredOption("--a <folder>", "images, read at any depth")
    .requiredOption("--b <folder>", "images to compare them with")
    .option("--pairs", "images of one name, without ending, belong together: also PSNR, SSIM and LPIPS")
    .option(
      "--features <name...>",
      `networks whose features are compared: ${VGG16}, or classifiers by folder, file or repository; none: no network, and no LPIPS (default: ${VGG16})`,
    )
    .option(
      "--vgg <source>",
      "VGG-16: a .safetensors file, hub (0.5 GB, once), or random:SEED (default: hub, and done without where it is not to be had)",
    )
    .option("--lpips <file>", "linear weights of LPIPS (default: those in VGG-16's file, or the Hub's)");
  addReadFlags(command)
    .option("--batch <n>", "images per submission", positiveInteger)
    .option("--workers <n>", "threads that read images; 0: none (default: the number of cores, at most 8)", countFromZero)
    .addOption(adapterOption())
    .addOption(deviceOption())
    .option("--json [file]", "write one JSON document, or print it on stdout instead of the table")
    .action(async (flags: MetricsFlags) => {
      const words = { before: "everything was measured" };
      process.exitCode = await concludeMetrics(await interruptible((signal) => run(flags, signal), words), flags);
    });
}
