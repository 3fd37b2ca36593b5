import { readFile } from "node:fs/promises";
import { openDataSet } from "../datasets/open.js";
import type { DataSet, SampleKey } from "../datasets/types.js";
import { describeError, messageOf, StylizingError } from "../errors.js";
import { listImages, realOf, tellingLeftOut } from "../image/folder.js";
import { ImagePool } from "../image/pool.js";
import { cut } from "../image/preprocess.js";
import { checkPixelImage, type PixelImage, type Placement } from "../image/types.js";
import { MODEL_METHOD, methodNamed, wantsTable } from "../restyle/methods.js";
import type { Params, RestyleJob } from "../restyle/types.js";
import { type AugmentOptions, type AugmentPlan, settleAugment } from "./augment-options.js";
import { type Chances, type Decision, decide, type WeightedMethod } from "./draws.js";
import { type ErrorReport, errorOf } from "./failures.js";
import { restyleAny } from "./grey.js";
import { listInputs } from "./inputs.js";
import { type Read, readsOf, rolled, styleOf } from "./reads.js";
import { Restylers } from "./restylers.js";
import { domainStyles, fileStyles, type StyleImage, StyleList, type StyleSource, sha256 } from "./style-source.js";

/** Of all operations: what a number of it means may change with it. */
const OP_VERSION = 1;

/** What was done to an image, as manifests have it. */
export interface AugmentOp {
  op: string;
  version: number;
  params: Params;
  /** Where it is not 1. */
  strength?: number;
  style?: { key: string; sha256: string; crop?: readonly [left: number, top: number, width: number, height: number] };
  applied: boolean;
}

/** An image in its new style, or why there is none. */
export type Augmented = { key: string; image: PixelImage; ops: AugmentOp[] } | { key: string; error: ErrorReport };

export interface AugmentedBatch {
  epoch: number;
  /** In the data set's own order, without those that cannot be read. */
  samples: (SampleKey & { image: PixelImage; ops: AugmentOp[] })[];
}

/** An image, and whose look it takes. */
export interface AugmentItem extends Pick<SampleKey, "key" | "domain"> {
  epoch: number;
  content: PixelImage;
  /** Of `roll`: the samples that follow it. */
  following?: readonly { style: () => StyleImage }[] | undefined;
  /** A style of its own. */
  style?: StyleImage | undefined;
  /** Styles to draw its own from, in place of the augmenter's. */
  source?: Pick<StyleSource, "styleFor"> | undefined;
  /** How it is drawn for, in place of the augmenter's plan. */
  chances?: Chances | undefined;
  /** What was done to it once: it is done again, and nothing is drawn. */
  ops?: readonly AugmentOp[] | undefined;
}

/** How far `roll` goes: copies of a sample take different styles, and as few images are kept. */
const REACH = 8;
/** Which of the following samples an epoch takes: the next one in the first. */
export const rollOf = (epoch: number): number => ((((epoch - 1) % REACH) + REACH) % REACH) + 1;

/**
 * Restyles the images of a data set at random, the same each time: every number is a pure function of (seed, epoch, the image's key,
 * operation, draw), and kernels do not depend on the size of a batch. Epoch N gives what `stylizing-vit augment` writes as copy N.
 */
export class Augmenter implements AsyncDisposable {
  readonly plan: AugmentPlan;
  /** Where it reads from, unless only `apply` is wanted. */
  readonly data: DataSet | undefined;
  /** @internal */
  readonly pool: ImagePool;
  readonly #restylers: Restylers;
  readonly #source: StyleSource | undefined;

  private constructor(
    plan: AugmentPlan,
    data: DataSet | undefined,
    pool: ImagePool,
    restylers: Restylers,
    source: StyleSource | undefined,
  ) {
    this.plan = plan;
    this.data = data;
    this.pool = pool;
    this.#restylers = restylers;
    this.#source = source;
  }

  /**
   * Opens the data set and its styles; devices and models when they are first needed.
   * @throws StylizingError `ARGUMENT`, `IMAGE`; the signal's reason when aborted
   */
  static async open(options: AugmentOptions = {}, signal?: AbortSignal): Promise<Augmenter> {
    const plan = settleAugment(options);
    const { onNote, inputFormat: format, domain, split, label, maskSuffix } = options;
    const given = options.data;
    const data = given === undefined ? undefined : await openDataSet(given, { format, domain, split, label, maskSuffix, onNote });
    const pool = new ImagePool(options.workers);
    const restylers = new Restylers({ model: plan.model, load: { ...options.load, ...(onNote ? { onNote } : {}) } });
    try {
      const source = await sourceOf(plan, data, pool, onNote, signal);
      const methods = [];
      for (const one of plan.methods)
        methods.push(wantsTable(one.method, one.params) ? await withTable(one, source, plan, restylers, signal) : one);
      return new Augmenter({ ...plan, methods }, data, pool, restylers, source);
    } catch (error) {
      await restylers[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
      await data?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What methods run on: the model, and the closed forms together. Opens them. */
  async adapters(): Promise<Record<string, unknown>> {
    const reports: Record<string, unknown> = {};
    for (const { method } of this.plan.methods) {
      const name = method === MODEL_METHOD ? method.name : "closed forms";
      reports[name] ??= (await this.#restylers.get(method)).report;
    }
    return reports;
  }

  /**
   * Batches of an epoch, in the data set's own order. Images are read ahead; a batch is begun when it is asked for.
   * @throws StylizingError as `open` does, and `GPU`, `DEVICE_LOST`; the signal's reason when aborted
   */
  async *epoch(
    epoch: number,
    {
      batchSize = this.plan.batch,
      signal,
      onError,
    }: { batchSize?: number; signal?: AbortSignal; onError?: (key: string, error: ErrorReport) => void } = {},
  ): AsyncGenerator<AugmentedBatch, void, undefined> {
    let some: { sample: SampleKey; item: AugmentItem }[] = [];
    const finish = async (): Promise<AugmentedBatch> => {
      const results = await this.restyle(
        some.map(({ item }) => item),
        signal,
      );
      const samples: AugmentedBatch["samples"] = [];
      for (const [index, result] of results.entries()) {
        const { key, source, domain, label } = some[index]!.sample;
        if ("error" in result) onError?.(result.key, result.error);
        else samples.push({ key, source, domain, label, image: result.image, ops: result.ops });
      }
      some = [];
      return { epoch, samples };
    };
    for await (const { read, items } of this.items([epoch], { signal, ahead: 2 * batchSize })) {
      if ("error" in read) onError?.(read.sample.key, describeError(read.error));
      else some.push({ sample: read.sample, item: items[0]! });
      if (some.length >= batchSize) yield await finish();
    }
    if (some.length > 0) yield await finish();
  }

  /** @internal Samples from the `from`-th to the one in front of the `to`-th, and what becomes of each in some epochs. */
  async *items(
    epochs: readonly number[],
    { from = 0, to, ahead, signal }: { from?: number; to?: number; ahead: number; signal?: AbortSignal | undefined },
  ): AsyncGenerator<{ read: Read; items: AugmentItem[] }, void, undefined> {
    const { data, pool, plan } = this;
    if (!data) throw new StylizingError("ARGUMENT", "There is no data set.", "Open the augmenter with data.");
    const reach = plan.styles === "roll" && this.#needsStyles ? Math.max(...epochs.map(rollOf)) : 0;
    const behindLast = to === undefined ? undefined : to + reach;
    const reads = readsOf(data, { from, ahead, until: behindLast, pool, signal });
    let left = (to ?? Number.POSITIVE_INFINITY) - from;
    for await (const { read, following } of rolled(reads, reach, () => readsOf(data, { ahead: reach, pool, signal }))) {
      const behind = following.map((one) => ({ style: () => styleOf(one) }));
      const { key, domain } = read.sample;
      const items =
        "error" in read ? [] : epochs.map((epoch) => ({ ...{ key, domain, epoch, content: read.image }, following: behind }));
      yield { read, items };
      if (--left <= 0) return;
    }
  }

  /** @internal A style by its key: of those that follow a sample, else of the bank or the domains. */
  styleNamed(key: string, following: AugmentItem["following"]): Promise<StyleImage> | undefined {
    const found = following?.map((one) => one.style()).find((style) => style.key === key);
    return found ? Promise.resolve(found) : this.#source?.named(key);
  }

  get #needsStyles(): boolean {
    return this.plan.methods.some(({ method, params }) => method.needsStyle(params));
  }

  /**
   * Restyles images that are in memory, for a training loop of one's own.
   * @param keys one an image: what is drawn hangs on it.
   * @param styles one an image; by default they are drawn from the bank.
   * @throws StylizingError `ARGUMENT`, also where a method needs a style and there is none; `GPU`, `DEVICE_LOST`
   */
  async apply(
    images: readonly PixelImage[],
    keys: readonly string[],
    epoch = 1,
    { styles, signal }: { styles?: readonly PixelImage[]; signal?: AbortSignal } = {},
  ): Promise<{ image: PixelImage; ops: AugmentOp[] }[]> {
    for (const [what, list] of [
      ["keys", keys],
      ["styles", styles ?? images],
    ] as const)
      if (list.length !== images.length)
        throw new StylizingError(
          "ARGUMENT",
          `There are ${images.length} images and ${list.length} ${what}.`,
          "Give one for each.",
        );
    const items = images.map((image, index): AugmentItem => {
      checkPixelImage(image, `Image ${index}`);
      const style = styles?.[index];
      if (style) checkPixelImage(style, `Style ${index}`);
      return {
        ...{ key: keys[index]!, epoch, content: { ...image, data: image.data.slice() } },
        ...(style
          ? { style: { key: keys[index]!, sha256: sha256(style.data), image: { ...style, data: style.data.slice() } } }
          : {}),
      };
    });
    const results = await this.restyle(items, signal);
    return results.map((result) => {
      if ("error" in result) throw errorOf(result.error, result.key);
      return { image: result.image, ops: result.ops };
    });
  }

  /** @internal Restyles images by what is drawn for each, in batches of one method; one that fails leaves the others alone. */
  async restyle(items: readonly AugmentItem[], signal?: AbortSignal): Promise<Augmented[]> {
    const results: Augmented[] = items.map(({ key, content }) => ({ key, image: content, ops: [] }));
    const todo = new Map<string, Todo[]>();
    for (const [index, item] of items.entries()) {
      const decision = item.ops ? again(item.ops) : decide(item.chances ?? this.plan, item.key, item.epoch);
      if (!decision) continue;
      try {
        const one = { index, decision, ...(await this.#styled(item, decision)) };
        todo.set(decision.method.name, [...(todo.get(decision.method.name) ?? []), one]);
      } catch (error) {
        results[index] = { key: item.key, error: describeError(error) };
      }
    }
    for (const all of todo.values())
      for (let first = 0; first < all.length; first += this.plan.batch) {
        signal?.throwIfAborted();
        await this.#run(items, all.slice(first, first + this.plan.batch), results, signal);
      }
    return results;
  }

  /** A job and its style, as a manifest names it. */
  async #styled(
    { content, ...item }: AugmentItem,
    { method, params, strength, style: draw, crop }: Decision,
  ): Promise<Pick<Todo, "job" | "style">> {
    const job = { content, params, strength };
    // What may do without a style takes those of a bank, which were given, and not its neighbours'.
    if (!method.needsStyle(params) && !(method.takesStyle(params) && (item.style || item.source || this.plan.styles === "bank")))
      return { job };
    const source = item.source ?? this.#source;
    const style = item.style ?? item.following?.[rollOf(item.epoch) - 1]?.style() ?? (await source?.styleFor(item, draw));
    if (!style)
      throw new StylizingError(
        "ARGUMENT",
        `${method.name} needs a style, and there is none.`,
        "Give styles, or a method that needs none.",
      );
    const place = crop?.(style.image);
    const image = place ? cut(style.image, place) : style.image;
    const named = { key: style.key, sha256: style.sha256, ...(place ? { crop: cropNumbers(place) } : {}) };
    return { job: { ...job, style: image }, style: named };
  }

  async #run(
    items: readonly AugmentItem[],
    some: readonly Todo[],
    results: Augmented[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { background, skipBlank } = this.plan;
    const { method } = some[0]!.decision;
    const restyler = await this.#restylers.get(method);
    try {
      const restyled = await restyleAny(
        restyler,
        some.map(({ job }) => job),
        { background, skipBlank, signal },
      );
      for (const [at, { index, decision, style }] of some.entries()) {
        const { image, applied, params } = restyled[at]!;
        const { strength } = decision;
        const op = {
          op: method.name,
          version: OP_VERSION,
          params,
          ...(strength === 1 ? {} : { strength }),
          ...(style ? { style } : {}),
          applied,
        };
        results[index] = { key: items[index]!.key, image, ops: [op] };
      }
    } catch (error) {
      signal?.throwIfAborted();
      const about = describeError(error);
      if (about.code === "DEVICE_LOST" || about.code === "DISPOSED") throw error;
      if (some.length > 1) for (const one of some) await this.#run(items, [one], results, signal);
      else results[some[0]!.index] = { key: items[some[0]!.index]!.key, error: about };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#restylers[Symbol.asyncDispose]();
    await this.pool[Symbol.asyncDispose]();
    await this.data?.[Symbol.asyncDispose]();
  }
}

interface Todo {
  index: number;
  decision: Decision;
  job: RestyleJob;
  style?: NonNullable<AugmentOp["style"]> | undefined;
}

/** RandStainNA with the table of a bank's styles. @throws StylizingError `ARGUMENT` where there is no bank */
async function withTable(
  one: WeightedMethod,
  source: StyleSource | undefined,
  { styles }: AugmentPlan,
  restylers: Restylers,
  signal: AbortSignal | undefined,
): Promise<WeightedMethod> {
  if (styles !== "bank" || !(source instanceof StyleList))
    throw new StylizingError(
      "ARGUMENT",
      `${one.method.name} has no table to draw from.`,
      "Measure one with `stylizing-vit fit` and give it with --params, or give images for it with --style.",
    );
  return { ...one, params: { ...one.params, table: await restylers.table(source.images(), signal) } };
}

/** Where styles come from, unless they are the samples that follow. */
async function sourceOf(
  plan: AugmentPlan,
  data: DataSet | undefined,
  pool: ImagePool,
  onNote: AugmentOptions["onNote"],
  signal: AbortSignal | undefined,
): Promise<StyleSource | undefined> {
  if (plan.styles === "domain" && data) return new StyleList(await domainStyles(data, plan.seed, signal), pool, true);
  if (plan.styles !== "bank") return undefined;
  const files = await tellingLeftOut(onNote, (leftOut) => listInputs(plan.style, { leftOut }));
  const lost = files.find(({ error }) => error !== undefined);
  if (lost)
    throw new StylizingError("ARGUMENT", `The style ${lost.path} cannot be read.`, messageOf(lost.error), { cause: lost.error });
  const paths = await Promise.all(files.map(({ path }) => realOf(path)));
  return new StyleList(await fileStyles(paths, await hashesBelow(plan.exclude)), pool);
}

/** What was decided once. @throws StylizingError `ARGUMENT` for a method that there is not */
function again([first, ...more]: readonly AugmentOp[]): Decision | undefined {
  if (!first) return undefined;
  if (more.length > 0 || first.version !== OP_VERSION)
    throw new StylizingError("ARGUMENT", `${first.op} was done by another version.`, "Take the version that the manifest names.");
  const { op, params, strength = 1, style } = first;
  const [left, top, width, height] = style?.crop ?? [];
  const crop = style?.crop ? () => ({ left: left!, top: top!, width: width!, height: height! }) : undefined;
  return { method: methodNamed(op), params, strength, style: 0, crop };
}

const cropNumbers = ({ left, top, width, height }: Placement) => [left, top, width, height] as const;

/** Files below folders by the hash of their bytes. */
async function hashesBelow(folders: readonly string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const folder of folders) for (const { path } of await listImages(folder)) hashes.set(sha256(await readFile(path)), path);
  return hashes;
}
