/** What repeats of one measurement come to. */
export interface Summary {
  median: number;
  p10: number;
  p90: number;
  samples: number;
}

/** The value below which a share of the samples lies, interpolated. */
export function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  return { median: quantile(sorted, 0.5), p10: quantile(sorted, 0.1), p90: quantile(sorted, 0.9), samples: sorted.length };
}

export const median = (samples: readonly number[]): number => summarize(samples).median;

/**
 * An interval that holds the median of whatever the samples are drawn from with at least the given confidence: the k-th of
 * the sorted samples from either end. It misses where fewer than k of n samples lie on one side of that median, which is as
 * likely as fewer than k heads of n fair coins. So it is exact for any distribution, long tails of a busy machine included,
 * and takes no random numbers. It does take samples that are independent. Undefined where there are too few: six for 95 %.
 */
export function medianInterval(samples: readonly number[], confidence: number): [low: number, high: number] | undefined {
  const sorted = [...samples].sort((a, b) => a - b);
  const n = sorted.length;
  let k = 0;
  // `tosses` is the chance of exactly k heads, `missed` that of k or fewer on either side.
  for (let tosses = 2 ** -n, missed = 2 * tosses; k < n / 2 && missed <= 1 - confidence; missed += 2 * tosses) {
    tosses *= (n - k) / (k + 1);
    k++;
  }
  return k === 0 ? undefined : [sorted[k - 1]!, sorted[n - k]!];
}

/** max |actual - expected| / max |expected|; infinite where a value is not a number or the lengths differ. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length || actual.length === 0) return Number.POSITIVE_INFINITY;
  let error = 0;
  let scale = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= error)) error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    scale = Math.max(scale, Math.abs(expected[i]!));
  }
  return scale === 0 ? (error === 0 ? 0 : Number.POSITIVE_INFINITY) : error / scale;
}
