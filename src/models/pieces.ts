import { StylizingError } from "../errors.js";

export interface PiecesOptions {
  /** Items of a piece at most. */
  size: number;
  /** Pieces under way at a time. */
  underWay: number;
  signal?: AbortSignal | undefined;
  /** Called after every piece, and not behind the end of a call. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** A piece did not fit the device's memory, and the others are of `size` from now on. */
  onSmaller?: ((size: number, tooLarge: number) => void) | undefined;
}

/** Runs [0, count) in pieces, a few at a time; one that does not fit the device's memory is halved. */
export async function inPieces(
  count: number,
  { size, underWay, signal, onProgress, onSmaller }: PiecesOptions,
  run: (from: number, items: number) => Promise<void>,
): Promise<void> {
  let each = size;
  const piece = async (from: number, items: number): Promise<void> => {
    try {
      await run(from, items);
    } catch (error) {
      if (!(error instanceof StylizingError) || error.cause !== "out-of-memory" || items === 1) throw error;
      const half = Math.ceil(items / 2);
      if (half < each) {
        each = half;
        onSmaller?.(half, items);
      }
      for (let at = 0; at < items; at += half) await piece(from + at, Math.min(half, items - at));
    }
  };
  const pending: Promise<void>[] = [];
  let done = 0;
  try {
    for (let from = 0; from < count; ) {
      signal?.throwIfAborted();
      const items = Math.min(each, count - from);
      const counted = piece(from, items).then(() => {
        done += items;
        onProgress?.(done, count);
      });
      // Awaited below, or not at all when an earlier one fails first.
      counted.catch(() => {});
      pending.push(counted);
      from += items;
      if (pending.length >= underWay) await pending[pending.length - underWay];
    }
    await Promise.all(pending);
  } finally {
    // Nothing is reported, nor written, behind the call's end.
    await Promise.allSettled(pending);
  }
}
