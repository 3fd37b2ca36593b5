import { messageOf, StylizingError } from "../errors.js";
import { tellingLeftOut } from "../image/folder.js";
import { psnr, ssim } from "../image/metrics.js";
import { ImagePool } from "../image/pool.js";
import type { LoadedImage } from "../image/tasks.js";
import type { PixelImage } from "../image/types.js";
import { artFid } from "../metrics/art-fid.js";
import { FeatureMoments, frechetDistance } from "../metrics/frechet.js";
import { SHORTEST_SIDE } from "../metrics/vgg16.js";
import { IntensityHistogram, wasserstein } from "../metrics/wasserstein.js";
import { versions } from "../version.js";
import { type ErrorReport, Failures } from "./failures.js";
import { type InputFile, listInputs } from "./inputs.js";
import { InputReader, inPages, type ReadOptions } from "./load.js";
import { type FeatureNetwork, type NetworkOptions, Networks } from "./networks.js";
import { type Partners, pairByName } from "./partners.js";

export interface MeasureOptions extends Pick<ReadOptions, "page" | "white">, NetworkOptions {
  /** Two sets: folders that are read at any depth, or files. */
  a: string;
  b: string;
  /** Whether images of one name belong together. */
  pairs?: boolean | undefined;
  workers?: number | undefined;
  /** Images done, of all. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A number, of how many it is, and which way is better. */
export interface Measured {
  /** Null where there is none: PSNR of pairs that are all equal. */
  value: number | null;
  better: "higher" | "lower";
}

/** Of pairs a mean. */
export interface OfPairs extends Measured {
  pairs: number;
}

/** Of sets of images. */
export interface OfSets extends Measured {
  images: { a: number; b: number };
}

export interface FrechetReport extends OfSets {
  /** Which network's, which layer's, and how many numbers. */
  features: string;
  /** Where its weights come from. */
  weights: string;
}

/** What became of a pair. */
export interface MeasuredPair {
  name: string;
  a: string;
  b: string;
  psnr?: number | "infinite";
  ssim?: number;
  lpips?: number;
  error?: ErrorReport;
}

export interface SetReport {
  path: string;
  /** Images that were measured. */
  images: number;
  failed: { image: string; error: ErrorReport }[];
  /** With pairs: those that have no partner. They count in what is said of sets. */
  withoutPartner?: string[];
}

export interface MeasureReport {
  a: SetReport;
  b: SetReport;
  /** In decibels, over the pairs that are not equal; `equal` are left out, theirs is infinite. */
  psnr?: OfPairs & { equal: number };
  ssim?: OfPairs;
  lpips?: OfPairs & { trunk: string; weights: string };
  /** Of channel intensities in [0, 1]: the mean of red, green and blue. */
  wasserstein?: OfSets & { channels: number[] };
  frechet: FrechetReport[];
  /** (1 + LPIPS) · (1 + Fréchet distance) of VGG-16's features. */
  artFid?: Measured & { features: string };
  /** Metrics that were left out, and how to get them. */
  missing: { metric: string; problem: string; fix: string }[];
  pairs?: MeasuredPair[];
  versions: ReturnType<typeof versions>;
  milliseconds: number;
}

/** Images of a batch where no network says how many suit it. */
const BATCH = 8;

/** What is read at once: a pair, or an image by itself. */
interface Item {
  a?: number;
  b?: number;
  pair?: number;
}

type Side = "a" | "b";
const SIDES: readonly Side[] = ["a", "b"];

/** Gathers what metrics need image by image, so that sets may be larger than memory. */
class Measurement {
  readonly pairs: MeasuredPair[];
  readonly failed: Record<Side, SetReport["failed"]> = { a: [], b: [] };
  readonly histograms = { a: new IntensityHistogram(), b: new IntensityHistogram() };
  readonly counts = { a: 0, b: 0 };
  /** By network. */
  readonly moments = new Map<FeatureNetwork, Record<Side, FeatureMoments>>();
  /** Pairs that are too small for LPIPS. */
  tooSmall = 0;
  readonly #files: Record<Side, readonly InputFile[]>;
  readonly #networks: Networks;
  readonly #failures: Failures;

  constructor(
    files: Record<Side, readonly InputFile[]>,
    pairs: Partners["pairs"],
    networks: Networks,
    onNote: MeasureOptions["onNote"],
  ) {
    this.#files = files;
    this.#networks = networks;
    this.#failures = new Failures(onNote);
    this.pairs = pairs.map(({ name, a, b }) => ({ name, a: files.a[a]!.path, b: files.b[b]!.path }));
    for (const network of networks.features)
      this.moments.set(network, { a: new FeatureMoments(network.width), b: new FeatureMoments(network.width) });
  }

  /** Adds a batch. @throws StylizingError where the device fails */
  async add(items: readonly Item[], loaded: readonly Partial<Record<Side, LoadedImage | { error: unknown }>>[]): Promise<void> {
    const seen: Record<Side, PixelImage[]> = { a: [], b: [] };
    const whole: { pair: number; a: PixelImage; b: PixelImage }[] = [];
    for (const [place, item] of items.entries()) {
      const images: Partial<Record<Side, PixelImage>> = {};
      for (const side of SIDES) {
        const one = loaded[place]![side];
        if (one === undefined) continue;
        if ("error" in one) this.#fail(side, item, one.error);
        else {
          seen[side].push(one);
          images[side] = one;
        }
      }
      const { a, b } = images;
      if (item.pair === undefined || !a || !b) continue;
      if (a.width === b.width && a.height === b.height) whole.push({ pair: item.pair, a, b });
      else this.#refuse(item.pair, a, b);
    }
    for (const side of SIDES) {
      for (const image of seen[side]) this.histograms[side].add(image);
      this.counts[side] += seen[side].length;
      for (const [network, moments] of this.moments)
        for (const features of await network.features(seen[side])) moments[side].add(features);
    }
    for (const { pair, a, b } of whole) {
      const ratio = psnr(a, b);
      Object.assign(this.pairs[pair]!, { psnr: Number.isFinite(ratio) ? ratio : "infinite", ssim: ssim(a, b) });
    }
    const { lpips } = this.#networks;
    if (!lpips) return;
    const large = whole.filter(({ a }) => Math.min(a.width, a.height) >= SHORTEST_SIDE);
    this.tooSmall += whole.length - large.length;
    const distances = await lpips.distances(large.map(({ a }) => a), large.map(({ b }) => b)); // biome-ignore format: one call
    for (const [at, { pair }] of large.entries()) this.pairs[pair]!.lpips = distances[at]!;
  }

  #fail(side: Side, item: Item, error: unknown): void {
    const image = this.#files[side][item[side]!]!.path;
    const report = this.#failures.add(image, error);
    this.failed[side].push({ image, error: report });
    if (item.pair !== undefined) this.pairs[item.pair]!.error ??= report;
  }

  #refuse(pair: number, a: PixelImage, b: PixelImage): void {
    const report = this.pairs[pair]!;
    const problem = `${report.a} is ${a.width} × ${a.height}, and its partner ${report.b} ${b.width} × ${b.height}.`;
    report.error = this.#failures.add(
      report.name,
      new StylizingError("IMAGE", problem, "Bring both to one size: `detail` gives a small painting its content's."),
    );
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What is said of pairs. */
function ofPairs(pairs: readonly MeasuredPair[], networks: Networks): Pick<MeasureReport, "psnr" | "ssim" | "lpips"> {
  const ratios = pairs.flatMap(({ psnr: ratio }) => (ratio === undefined ? [] : [ratio]));
  if (ratios.length === 0) return {};
  const finite = ratios.filter((ratio) => ratio !== "infinite");
  const structure = pairs.flatMap(({ ssim: one }) => (one === undefined ? [] : [one]));
  const looks = pairs.flatMap(({ lpips: one }) => (one === undefined ? [] : [one]));
  const equal = ratios.length - finite.length;
  return {
    psnr: { value: finite.length > 0 ? mean(finite) : null, better: "higher", pairs: finite.length, equal },
    ssim: { value: mean(structure), better: "higher", pairs: structure.length },
    ...(networks.lpips && looks.length > 0
      ? { lpips: { value: mean(looks), better: "lower", pairs: looks.length, ...networks.lpips.about } }
      : {}),
  };
}

/** What is said of sets. */
async function ofSets(
  work: Measurement,
  missing: MeasureReport["missing"],
): Promise<Pick<MeasureReport, "wasserstein" | "frechet">> {
  const images = { ...work.counts };
  const few = images.a === 0 || images.b === 0;
  const frechet: FrechetReport[] = [];
  for (const [network, { a, b }] of work.moments) {
    if (a.count >= 2 && b.count >= 2) {
      frechet.push({ value: await frechetDistance(a, b), better: "lower", images, ...network.about });
    } else {
      const problem = `${a.count} and ${b.count} images could be read.`;
      missing.push({ metric: "Fréchet distance", problem, fix: "It takes two images or more of each set." });
    }
  }
  if (few) return { frechet };
  const { mean: value, channels } = wasserstein(work.histograms.a, work.histograms.b);
  return { wasserstein: { value, better: "lower", images, channels }, frechet };
}

/**
 * Measures two sets of images: how alike they are as sets and, with `pairs`, image by image. What cannot be read is reported and the
 * rest is done; metrics whose network is not to be had are left out, and how to get it is said.
 * @param signal stops between batches.
 * @throws StylizingError `ARGUMENT` where a set has no image or no image a partner; what a network that was asked for by name cannot
 *   be loaded for; `GPU`, `DEVICE_LOST`; the signal's reason when aborted
 */
export async function measureFiles(options: MeasureOptions, signal?: AbortSignal): Promise<MeasureReport> {
  const start = performance.now();
  const { onNote, onProgress, page } = options;
  const files: Record<Side, InputFile[]> = { a: [], b: [] };
  for (const side of SIDES) {
    const listed = await tellingLeftOut(onNote, (leftOut) => listInputs([options[side]], { leftOut }));
    // A file that stands for itself and cannot be read.
    if (listed[0]?.error !== undefined)
      throw new StylizingError("ARGUMENT", `${options[side]} cannot be read.`, messageOf(listed[0].error));
    files[side] = await inPages(listed, page);
    if (files[side].length > 0) continue;
    throw new StylizingError("ARGUMENT", `There is no image in ${options[side]}.`, "Give a folder that holds some.");
  }
  const partners = options.pairs ? pairByName(files.a, files.b) : undefined;
  const pairs = partners?.pairs ?? [];
  const rest = (side: Side) => partners?.alone[side] ?? [...files[side].keys()];
  const items: Item[] = [
    ...pairs.map(({ a, b }, pair) => ({ a, b, pair })),
    ...SIDES.flatMap((side) => rest(side).map((at): Item => ({ [side]: at }))),
  ];

  const sets = Math.min(files.a.length, files.b.length) > 1;
  await using pool = new ImagePool(options.workers);
  if (pool.note) onNote?.(pool.note);
  await using networks = await Networks.open({ ...options, signal }, { sets, pairs: pairs.length > 0 });
  const missing = [...networks.missing];
  if (!sets) {
    const problem = `The sets have ${files.a.length} and ${files.b.length} images.`;
    missing.push({ metric: "Fréchet distance", problem, fix: "It takes two images or more of each set." });
  }
  const reader = new InputReader(pool, options, onNote);
  const work = new Measurement(files, pairs, networks, onNote);
  const load = (input: InputFile) =>
    reader
      .load({ file: reader.key(input), size: 1, channels: 3, crop: "original" }, signal)
      .catch((error: unknown) => ({ error }));
  const read = (batch: readonly Item[]) =>
    Promise.all(
      batch.map(async ({ a, b }) => {
        const [one, other] = await Promise.all([a, b].map((at, side) => at !== undefined && load(files[SIDES[side]!][at]!)));
        return { ...(one ? { a: one } : {}), ...(other ? { b: other } : {}) };
      }),
    );
  const size = networks.batchSize ?? BATCH;
  const total = files.a.length + files.b.length;
  let done = 0;
  onProgress?.(0, total);
  let next = read(items.slice(0, size));
  for (let from = 0; from < items.length; from += size) {
    const batch = items.slice(from, from + size);
    const loaded = await next;
    signal?.throwIfAborted();
    // Images of the next batch are read while the device has this one.
    next = read(items.slice(from + size, from + 2 * size));
    await work.add(batch, loaded).finally(() => next);
    done += batch.reduce((sum, { a, b }) => sum + Number(a !== undefined) + Number(b !== undefined), 0);
    onProgress?.(done, total);
  }
  if (work.tooSmall > 0) {
    const problem = `${work.tooSmall} pairs have a side of less than ${SHORTEST_SIDE} pixels.`;
    missing.push({ metric: "LPIPS", problem, fix: "Enlarge them first, both in the same way." });
  }

  const measured = ofPairs(work.pairs, networks);
  const { wasserstein: intensities, frechet } = await ofSets(work, missing);
  const own = frechet.find(({ features }) => features === networks.vggFeatures);
  const setReport = (side: Side): SetReport => ({
    path: options[side],
    images: work.counts[side],
    failed: work.failed[side],
    ...(partners ? { withoutPartner: partners.alone[side].map((at) => files[side][at]!.path) } : {}),
  });
  return {
    a: setReport("a"),
    b: setReport("b"),
    ...measured,
    ...(intensities ? { wasserstein: intensities } : {}),
    frechet,
    ...(own && measured.lpips
      ? { artFid: { value: artFid(measured.lpips.value!, own.value!), better: "lower", features: own.features } }
      : {}),
    missing,
    ...(partners ? { pairs: work.pairs } : {}),
    versions: versions(),
    milliseconds: Math.round(performance.now() - start),
  };
}
