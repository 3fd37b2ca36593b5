import { setTimeout as delay } from "node:timers/promises";

/**
 * Share of a job's expected time in which nobody asks whether it is done. Dawn's Node binding answers by asking the driver
 * again and again for as long as a promise is open: a core that a software adapter and decoding threads could use.
 */
const PATIENCE = 0.75;
/** Shorter sleeps than this are not worth a timer, in milliseconds. */
const SHORTEST_SLEEP = 4;

/**
 * Sleeps through most of a job that began at `begun` (as `performance.now()` has it) and should take `expected` milliseconds.
 * @returns whether it slept at all: not where little of it is left, or nothing is expected (infinity).
 */
export async function sleepThrough(begun: number, expected: number): Promise<boolean> {
  const sleep = begun + PATIENCE * expected - performance.now();
  if (!(sleep > SHORTEST_SLEEP) || !Number.isFinite(sleep)) return false;
  await delay(sleep);
  return true;
}
