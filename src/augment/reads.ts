import type { DataSet, LostSample, Sample } from "../datasets/types.js";
import type { ImagePool } from "../image/pool.js";
import type { PixelImage } from "../image/types.js";
import { bytesOf, decode, type StyleImage, sha256 } from "./style-source.js";

/** A sample with its pixels, or why there are none. */
export type Read = { sample: Sample; image: PixelImage } | { sample: Sample | LostSample; error: unknown };
export type GoodRead = Extract<Read, { image: unknown }>;

/** A sample, and the ones that follow it and can be read: as many as are asked for, in a circle. */
export type Rolled = { read: Read; following: readonly GoodRead[] };

const isGood = (read: Read): read is GoodRead => "image" in read;

/** Bytes of decoded images that are ahead. */
const AHEAD_BYTES = 2 ** 27;

/**
 * Reads and decodes samples in order, some ahead of the one that is asked for.
 * @param options `until`: from this one on nothing is read ahead.
 */
export async function* readsOf(
  data: DataSet,
  {
    from = 0,
    ahead,
    until = Number.POSITIVE_INFINITY,
    pool,
    signal,
  }: { from?: number; ahead: number; until?: number | undefined; pool: ImagePool; signal?: AbortSignal | undefined },
): AsyncGenerator<Read, void, undefined> {
  const underWay: Promise<Read>[] = [];
  let largest = 1;
  let index = from;
  const start = (sample: Sample | LostSample): Promise<Read> => {
    if ("error" in sample) return Promise.resolve({ sample, error: sample.error });
    return decode(sample.image, sample.source, pool, signal).then(
      (image) => {
        largest = Math.max(largest, image.data.length);
        return { sample, image };
      },
      (error: unknown) => ({ sample, error }),
    );
  };
  for await (const sample of data.samples({ from, signal })) {
    underWay.push(start(sample));
    const most = ++index >= until ? 0 : Math.min(ahead, AHEAD_BYTES / largest);
    while (underWay.length > most) yield await underWay.shift()!;
    signal?.throwIfAborted();
  }
  for (const read of underWay) yield await read;
}

/**
 * Gives each sample those behind it, for `--styles roll`; what cannot be read is passed over, and behind the last come the first.
 * @param reach how many.
 * @param first the data set's first samples, for a run that does not begin there.
 */
export async function* rolled(
  reads: AsyncIterable<Read>,
  reach: number,
  first: () => AsyncIterable<Read>,
): AsyncGenerator<Rolled, void, undefined> {
  if (reach === 0) {
    for await (const read of reads) yield { read, following: [] };
    return;
  }
  const waiting: Read[] = [];
  /** What follows the first that waits, itself included if it is good. */
  const good: GoodRead[] = [];
  function* ready(all: readonly GoodRead[]): Generator<Rolled> {
    const read = waiting.shift()!;
    const own = isGood(read) ? 1 : 0;
    yield { read, following: all.slice(own, own + reach) };
    if (own) good.shift();
  }
  for await (const read of reads) {
    waiting.push(read);
    if (isGood(read)) good.push(read);
    while (waiting.length > 0 && good.length > reach) yield* ready(good);
  }
  if (waiting.length === 0) return;
  const circle: GoodRead[] = [];
  for await (const read of first()) {
    if (isGood(read)) circle.push(read);
    if (circle.length >= reach) break;
  }
  while (waiting.length > 0) {
    const all = [...good];
    // A data set of fewer samples than the reach goes round more than once.
    while (circle.length > 0 && all.length <= reach) all.push(...circle);
    yield* ready(all);
  }
}

/** A sample as a style. */
export const styleOf = ({ sample, image }: GoodRead): StyleImage => ({
  key: sample.key,
  sha256: sha256(bytesOf(sample.image)),
  image,
});
