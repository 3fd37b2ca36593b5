import { StylizingError } from "../errors.js";
import { describeValue } from "../image/checks.js";
import type { ImagePool } from "../image/pool.js";
import type { Fit, FittedImage } from "../image/preprocess.js";
import type { Image } from "../models/batch.js";
import { noTime, type RunTiming } from "../net/run.js";

/** A content with its style. A string is a file's path; a number is a style of the stream's bank. */
export interface StreamPair {
  content: Image | string;
  style: Image | string | number;
}

/**
 * Where the time of a batch went, in milliseconds. Batches overlap, so these do not add up to the time that passed.
 */
export interface BatchTiming {
  /** Reading, decoding and scaling its files, summed over the threads that did it. */
  decode: number;
  /** Main thread: handing its pixels to the device's queue. */
  upload: number;
  /** The device at work on it; by which clock, `StreamTiming.clock` says. */
  compute: number;
  /** Main thread: copying its results out of the device's buffer. The device's own copies count nowhere. */
  download: number;
  /** The device without work before this batch: since the one before it was done, or since the stream began. */
  wait: number;
  /** Main thread: encoding and submitting it, without its pixels. */
  host: number;
}

/** Where the time of a whole stream went: sums over its batches, in milliseconds. */
export interface StreamTiming extends BatchTiming {
  batches: number;
  images: number;
  /** From the first pull to the last result, with what the consumer took. */
  milliseconds: number;
  /** Share of the time since the first batch was done in which the device computed; 0 where there was one batch only. */
  busy: number;
  /**
   * How `compute` was measured: by the device's timestamps around its passes, or by the host's clock from a batch's submission
   * (or the end of the one before it) until it was done.
   */
  clock: "device" | "host";
}

export interface StreamBatch<P> {
  /** Number of the first pair in the stream, counting those that were left out. */
  first: number;
  /** Without those that could not be read. */
  pairs: P[];
  images: Image[];
  timing: BatchTiming;
}

/** A batch with what was read for it. */
export interface PaintedBatch<P> extends StreamBatch<P> {
  contents: (Image | FittedImage)[];
  styles: (Image | FittedImage | number)[];
}

/** Reads what pairs name. */
export type StreamPool = Pick<ImagePool, "load">;

/** What a stream needs of its model. */
export interface StreamPainter {
  readonly size: number;
  readonly channels: number;
  readonly clock: StreamTiming["clock"];
  /** How files become squares, and whether contents come at their own size too. */
  readonly fit: Fit;
  readonly originals: boolean;
  pool(): StreamPool;
  /** Paints pairs; `contents` is a single image where all have the same. `stop` ends what is painted in windows. */
  paint(contents: Image[], styles: (Image | number)[], timing: RunTiming, stop: AbortSignal): Promise<Image[]>;
}

export interface PaintStreamOptions<P> {
  /** Ends the stream with an error once what the device has is done. */
  signal?: AbortSignal | undefined;
  /** Ends the stream quietly: batches that the device does not have yet are given up. */
  stop?: AbortSignal | undefined;
  banked: boolean;
  onUnreadable?: ((pair: P, error: unknown) => void) | undefined;
  onTiming?: ((timing: StreamTiming) => void) | undefined;
}

/** Batches under way: while one is read back or in the consumer's hands the device has another, and a third is decoded. */
export const BATCHES_UNDER_WAY = 3;

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

function checkPair(pair: StreamPair, banked: boolean): void {
  if (typeof pair !== "object" || pair === null) refuse(`A pair is ${describeValue(pair)}.`, "Give { content, style }.");
  const { content, style } = pair;
  const image = (value: unknown) => typeof value === "string" || (typeof value === "object" && value !== null);
  if (!image(content)) refuse(`The content of a pair is ${describeValue(content)}.`, "Give an image or a file's path.");
  if (banked && typeof style !== "number")
    refuse(`A style bank was given, and a pair's style is ${describeValue(style)}.`, "Give the number of a style in the bank.");
  if (!banked && !image(style))
    refuse(
      `The style of a pair is ${describeValue(style)}.`,
      "Give an image or a file's path, or a bank with the number of one of its styles.",
    );
}

/** Cuts a source into batches of `size`. Ending it ends the source. */
export async function* inGroups<P>(pairs: Iterable<P> | AsyncIterable<P>, size: number): AsyncGenerator<P[], void, undefined> {
  const iterable = typeof pairs === "object" && pairs !== null && (Symbol.iterator in pairs || Symbol.asyncIterator in pairs);
  if (!iterable) refuse(`The pairs are ${describeValue(pairs)}.`, "Give an array, a generator or whatever else can be iterated.");
  let group: P[] = [];
  for await (const pair of pairs) {
    group.push(pair);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

/** What was read for a batch. */
interface Ready<P> {
  pairs: P[];
  contents: PaintedBatch<P>["contents"];
  styles: PaintedBatch<P>["styles"];
  decode: number;
}

/** Reads what the pairs of a batch name; what they hold already is taken as it is. A file that comes again is read once. */
async function read<P extends StreamPair>(
  pairs: readonly P[],
  painter: StreamPainter,
  options: PaintStreamOptions<P>,
  signal: AbortSignal,
): Promise<Ready<P>> {
  const { size, channels } = painter;
  const files = new Map<string, Promise<FittedImage>>();
  const contents = new Set(pairs.map(({ content }) => content));
  let decode = 0;
  const load = async (file: string, original: boolean) => {
    if (channels !== 1 && channels !== 3)
      throw new StylizingError("CONFIG", `This model takes ${channels} channels.`, "Files have 1 or 3; give images.");
    const { milliseconds, ...image } = await painter.pool().load({ file, size, channels, fit: painter.fit, original }, signal);
    decode += milliseconds;
    return image;
  };
  const open = <T>(source: T | string): Promise<T | FittedImage> => {
    if (typeof source !== "string") return Promise.resolve(source);
    let image = files.get(source);
    if (!image) {
      image = load(source, painter.originals && contents.has(source));
      files.set(source, image);
    }
    return image;
  };
  const results = await Promise.all(pairs.map(({ content, style }) => Promise.allSettled([open(content), open(style)] as const)));
  signal.throwIfAborted();
  const ready: Ready<P> = { pairs: [], contents: [], styles: [], decode };
  for (const [index, [content, style]] of results.entries()) {
    const pair = pairs[index]!;
    if (content.status === "fulfilled" && style.status === "fulfilled") {
      ready.pairs.push(pair);
      ready.contents.push(content.value);
      ready.styles.push(style.value);
    } else {
      const reason: unknown = content.status === "rejected" ? content.reason : (style as PromiseRejectedResult).reason;
      if (!options.onUnreadable) throw reason;
      options.onUnreadable(pair, reason);
    }
  }
  return ready;
}

/**
 * Paints batches in order, with up to `BATCHES_UNDER_WAY` of them read, painted and read back at the same time. A batch is
 * pulled from `groups` only when an earlier one is asked for. However the stream ends, it waits for what the device has.
 * @throws what a batch fails with, in its turn; the signal's reason when aborted.
 */
export async function* paintStream<P extends StreamPair>(
  painter: StreamPainter,
  groups: AsyncGenerator<P[], void, undefined>,
  options: PaintStreamOptions<P>,
): AsyncGenerator<PaintedBatch<P>, void, undefined> {
  const { signal, stop } = options;
  const start = performance.now();
  const total = { decode: 0, upload: 0, compute: 0, download: 0, wait: 0, host: 0 };
  const counts = { batches: 0, images: 0 };
  let firstDone = start;
  let lastDone = start;
  let later = 0;

  // Ends reading: the signals that were given, an early return, or a failure.
  const ended = new AbortController();
  const end = () => {
    ended.abort(signal?.aborted ? signal.reason : new Error("The stream has ended."));
    changed();
  };
  let changed = () => {};
  signal?.addEventListener("abort", end, { once: true });
  stop?.addEventListener("abort", end, { once: true });
  if (signal?.aborted || stop?.aborted) end();

  const underway: Promise<(PaintedBatch<P> & { job: RunTiming }) | undefined>[] = [];
  /** Settle when the batch before has been given to the device, and when the one before that is done. */
  let given: Promise<unknown> = Promise.resolve();
  let [beforeLast, last]: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
  const begin = (group: P[], first: number) => {
    const turn = Promise.all([given, beforeLast]);
    let give!: () => void;
    given = new Promise<void>((resolve) => {
      give = resolve;
    });
    const work = (async () => {
      try {
        for (const pair of group) checkPair(pair, options.banked);
        const { pairs, contents, styles, decode } = await read(group, painter, options, ended.signal);
        await turn;
        ended.signal.throwIfAborted();
        if (pairs.length === 0) return undefined;
        const job = noTime();
        const same = options.banked && pairs.every((pair) => pair.content === pairs[0]!.content);
        const painting = painter.paint(same ? contents.slice(0, 1) : contents, styles, job, ended.signal);
        give();
        const images = await painting;
        const timing = { decode, upload: job.upload, compute: job.compute, download: job.download, wait: 0, host: job.host };
        return { first, pairs, images, timing, contents, styles, job };
      } finally {
        give();
      }
    })();
    // It is awaited in its turn; a failure before that must not count as unhandled.
    const settled = work.catch(() => {});
    [beforeLast, last] = [last!, settled];
    underway.push(work);
  };

  let allowed = BATCHES_UNDER_WAY - 1;
  let begun = 0;
  let first = 0;
  let dry = false;
  let failure: { error: unknown } | undefined;
  let pulling: Promise<void> | undefined;
  const pull = async () => {
    try {
      while (!dry && begun < allowed && !ended.signal.aborted) {
        const { done, value } = await groups.next();
        if (done) dry = true;
        else if (!ended.signal.aborted) {
          begun++;
          begin(value, first);
          first += value.length;
          changed();
        }
      }
    } catch (error) {
      failure = { error };
      dry = true;
    } finally {
      pulling = undefined;
      changed();
    }
  };

  try {
    for (;;) {
      allowed++;
      pulling ??= pull();
      while (underway.length === 0 && !dry && !ended.signal.aborted) {
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
      signal?.throwIfAborted();
      const next = underway.shift();
      if (!next) {
        if (failure) throw failure.error;
        return;
      }
      let painted: Awaited<typeof next>;
      try {
        painted = await next;
      } catch (error) {
        // Given up before the device had it: so are all behind it.
        if (stop?.aborted && error === ended.signal.reason) return;
        throw error;
      }
      signal?.throwIfAborted();
      if (!painted) continue;
      const { job, ...batch } = painted;
      batch.timing.wait = Math.max(0, job.submitted - lastDone);
      if (counts.batches === 0) firstDone = job.done;
      else later += job.compute;
      lastDone = job.done;
      for (const stage of Object.keys(total) as (keyof BatchTiming)[]) total[stage] += batch.timing[stage];
      counts.batches++;
      counts.images += batch.images.length;
      yield batch;
    }
  } finally {
    end();
    signal?.removeEventListener("abort", end);
    stop?.removeEventListener("abort", end);
    const closing = groups.return();
    // A source that is still being waited for may never answer.
    if (pulling) closing.catch(() => {});
    else await closing.catch(() => {});
    await last;
    await beforeLast;
    const span = lastDone - firstDone;
    const busy = span > 0 ? Math.min(1, later / span) : 0;
    options.onTiming?.({ ...total, ...counts, milliseconds: performance.now() - start, busy, clock: painter.clock });
  }
}
