import type { Program, Tap } from "../gpu/program.js";

/** Where the time of one or several runs went, in milliseconds; a run adds to it. */
export interface RunTiming {
  /** JavaScript time of handing pixels to the queue. */
  upload: number;
  /** JavaScript time of encoding and submitting, without `upload`. */
  host: number;
  /** Device time of the compute passes where there are timestamps, else from submission (or the end of the run before) to done. */
  compute: number;
  /** Copying the mapped results into their arrays. */
  download: number;
  /** When the first run was submitted and when the host saw the last one done, as `performance.now()` tells it. */
  submitted: number;
  done: number;
}

export const noTime = (): RunTiming => ({
  upload: 0,
  host: 0,
  compute: 0,
  download: 0,
  submitted: Number.POSITIVE_INFINITY,
  done: Number.NEGATIVE_INFINITY,
});

/** A part of a buffer that comes to the host. */
export interface Read {
  buffer: GPUBuffer;
  offset?: number;
  bytes: number;
  /** Where it goes; in an array of its own where nothing is said. */
  target?: Uint8Array | undefined;
}

/** One submission. */
export interface Run {
  label: string;
  /** Encoded one behind the other, as one pass where nothing cuts it. */
  programs?: readonly Program[];
  /** Pixels to the queue, and copies on the device in front of the programs. */
  upload?: (encoder: GPUCommandEncoder) => void;
  /** Copies where a program has a tap: the pass is cut there, since copies cannot be encoded inside one. */
  atTap?: (encoder: GPUCommandEncoder, tap: Tap) => void;
  /** Copies behind the programs. */
  after?: (encoder: GPUCommandEncoder) => void;
  reads?: readonly Read[];
  timing?: RunTiming | undefined;
}
