import assert from "node:assert/strict";

/** The house bound of an f32 kernel: max error / max |reference|. */
export const F32_BOUND = 2e-5;

export interface Difference {
  /** Where the error is largest; NaN counts as infinite. */
  at: number;
  error: number;
  /** The largest |reference|. */
  scale: number;
}

export function difference(actual: ArrayLike<number>, reference: ArrayLike<number>): Difference {
  assert.equal(actual.length, reference.length, "result and reference differ in length");
  const worst: Difference = { at: 0, error: 0, scale: 0 };
  for (let at = 0; at < reference.length; at++) {
    worst.scale = Math.max(worst.scale, Math.abs(reference[at]!));
    const distance = Math.abs(actual[at]! - reference[at]!);
    const error = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
    if (error > worst.error) {
      worst.error = error;
      worst.at = at;
    }
  }
  return worst;
}

export interface Tolerance {
  /** Of max |reference|. */
  bound?: number;
  /** Absolute error that conditioning alone may cause at an index; the larger of the two counts. */
  slack?: ((at: number) => number) | undefined;
  /** Turns an index into words. */
  place?: ((at: number) => string) | undefined;
}

/** Fails where an error exceeds its tolerance, with the worst place and how much of the tolerance it took. */
export function assertClose(
  actual: ArrayLike<number>,
  reference: ArrayLike<number>,
  what: string,
  { bound = F32_BOUND, slack, place = (at) => `index ${at}` }: Tolerance = {},
): void {
  const { scale } = difference(actual, reference);
  let worst = 0;
  let at = 0;
  let wrong = 0;
  for (let i = 0; i < reference.length; i++) {
    const error = Math.abs(actual[i]! - reference[i]!);
    const allowed = Math.max(bound * scale, slack?.(i) ?? 0);
    const used = error === 0 ? 0 : error / allowed;
    if (!(used <= 1)) wrong++;
    if (!(used <= worst)) {
      worst = Number.isNaN(used) ? Number.POSITIVE_INFINITY : used;
      at = i;
    }
  }
  if (wrong === 0) return;
  const error = Math.abs(actual[at]! - reference[at]!);
  assert.fail(
    `${what}: ${wrong} of ${reference.length} values are off; worst at ${place(at)}: ${actual[at]}, expected ${reference[at]} ` +
      `(error ${error.toExponential(2)}, ${(error / scale).toExponential(2)} of max |reference| ${scale.toPrecision(4)}, ${worst.toPrecision(3)} × what is allowed)`,
  );
}
