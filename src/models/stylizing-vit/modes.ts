import type { PixelFormat } from "../../ops/images.js";

/**
 * The order of work of a forward pass, as a program over an arena.
 *
 * The encoder carries three streams: A (anatomy), Y (style) and Q (the running query). A layer is
 *   A' = blk(A, A),  Y' = blk(Y, Y),  Z = blk(Q, Y),  Q' = blk(A', Z)
 * with the same weights in all four. What a program leaves out, none of which changes a result:
 * - in the last layer all but Z;
 * - the second projection of Y's keys and values, which blk(Y, Y) and blk(Q, Y) share;
 * - in layer 0 the queries of Q, which are A's;
 * and the three passes that do not wait for each other run as one batch of three times the sequences.
 *
 * `pair`    A, Y and Q together: 4L - 3 block passes
 * `style`   Y alone, keys and values of every layer kept in a bank: L - 1 passes and a projection
 * `banked`  A and Q against a bank of styles: 3L - 2 passes
 * `content` A alone, its rows and queries of every layer kept: L - 1 passes and a projection
 * `restyle` Q alone, against a kept content and a bank of styles: 2L - 1 passes
 * `plain`   all 4L passes one by one, as published: the yardstick of the others, and the only one with every stream
 */
export type Mode = "pair" | "style" | "banked" | "content" | "restyle" | "plain";

/** Streams that a mode keeps in the residual buffer, in the order of their slots. */
export const STREAMS: Readonly<Record<Mode, readonly string[]>> = {
  pair: ["A", "Y", "Q"],
  style: ["Y"],
  banked: ["A", "Q"],
  content: ["A"],
  restyle: ["Q"],
  plain: ["A", "Y", "Q", "Z"],
};

/** Keys and values of a set of styles, a buffer a layer: [styles · tokens, key | value] elem. */
export interface StylePage {
  readonly layers: readonly GPUBuffer[];
  readonly capacity: number;
}

/** One content's stream: [tokens, width] f32 and [tokens, attention] elem, for layers 0 (its embedding) to L - 1. */
export interface KeptContent {
  /** Entry i: A before layer i. */
  readonly rows: readonly GPUBuffer[];
  /** Entry 0: the queries of the embedding in layer 0. Entry i + 1: those of A' in layer i. */
  readonly queries: readonly GPUBuffer[];
}

export interface ProgramRequest {
  mode: Mode;
  images: number;
  input: PixelFormat;
  /** What the decoder writes; `none` for the modes that only fill a bank. */
  output: PixelFormat | "none";
  page?: StylePage | undefined;
  /** Where in the page `style` writes its first image. */
  firstStyle?: number | undefined;
  kept?: KeptContent | undefined;
  /** First rows (query, context) of each sequence of Q against the page; rewritten before every run. */
  styleRows?: GPUBuffer | undefined;
  /** The same with all queries at row 0, for sequences that still share one content's. */
  sharedStyleRows?: GPUBuffer | undefined;
}

/** Slot of the stream that a mode decodes. */
export function resultSlot(mode: Mode): number {
  return STREAMS[mode].indexOf(mode === "plain" ? "Z" : "Q");
}

/** Block passes of a mode, per image: the cost that the exact savings are about. */
export function blockPasses(mode: Mode, depth: number): number {
  return {
    pair: 4 * depth - 3,
    style: depth - 1,
    banked: 3 * depth - 2,
    content: depth - 1,
    restyle: 2 * depth - 1,
    plain: 4 * depth,
  }[mode];
}
