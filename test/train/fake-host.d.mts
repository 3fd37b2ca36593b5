import type { OpenHost } from "../../src/train/host.js";

/** What goes wrong, and what the device has seen. */
export interface Faults {
  /** The first step, from 1, whose loss is no number. */
  breakAt?: number;
  /** Calls of `step`, from 0 and over all engines, that lose the device. */
  loseAt?: number[];
  /** What such a call throws. */
  loss?: Error;
  /** Losses of validation images are no numbers. */
  poison?: boolean;
  /** Milliseconds a step. */
  delay?: number;
  /** Devices opened. */
  opened?: number;
  /** Calls of `step`. */
  done?: number;
}

export function fakeHost(faults?: Faults): OpenHost;
