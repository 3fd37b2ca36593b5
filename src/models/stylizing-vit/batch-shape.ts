/**
 * Forward pass, losses and backward pass of a batch of pairs, as dispatches.
 *
 * What the published training computes twice is computed once, and none of it changes a result. Streams A and Y go through the
 * same blocks with the same weights, so an image that is content of one pair and style of another goes through them
 * once: a batch whose styles are its contents rolled by one has as many self-attending streams as images, not twice as many. Its
 * reconstruction and its features are computed once as well and count twice in the losses. A pair then costs 3L - 1 block passes instead of
 * 4L, two decodings instead of three, and three passes of VGG-19 forward and two backward instead of five and three.
 *
 * Rows of the encoder's buffers: `uniques` sequences of the images' own stream, S, then `pairs` sequences of the query's, Q (the
 * stylized stream's, Z, behind a block). The contents are the first images, in order. A layer is
 *   S' = blk(S, S),   Z = blk(Q, S[style]),   Q' = blk(S'[content], Z)
 * and the first two are one batch. Kept for the backward pass: what every block got and what its attention and MLP multiplied;
 * normalised rows and GELU are recomputed. With `recompute` (activation checkpointing) only the input of a layer is kept.
 */
export interface BatchShape {
  /** Images. */
  uniques: number;
  /** Pairs; the content of pair p is image p. */
  pairs: number;
  /** Image that is the style of each pair; none twice. */
  styles: readonly number[];
  /** How often each image stands in a pair. */
  counts: readonly number[];
  /** Pairs of the whole batch, which losses are means over: these may be some of them. */
  batch: number;
}

/** Pairs of images with themselves rolled by -1: `pairs` of a batch of `batch`; unless those are all, one more image than pairs. */
export function rolled(pairs: number, batch: number): BatchShape {
  const uniques = pairs === batch ? pairs : pairs + 1;
  const styles = Array.from({ length: pairs }, (_, pair) => (pair + 1) % uniques);
  const counts = Array.from({ length: uniques }, (_, image) => (image < pairs ? 1 : 0) + (styles.includes(image) ? 1 : 0));
  return { uniques, pairs, styles, counts, batch };
}

/** Contents and as many styles that have nothing to do with them, contents first. */
export function separate(pairs: number, batch = pairs): BatchShape {
  const styles = Array.from({ length: pairs }, (_, pair) => pairs + pair);
  return { uniques: 2 * pairs, pairs, styles, counts: new Array(2 * pairs).fill(1), batch };
}
