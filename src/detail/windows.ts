/** First pixels of the fewest windows of `size` that cover `length` with at least `overlap` in common, spread evenly. */
export function windowOrigins(length: number, size: number, overlap: number): number[] {
  if (length <= size) return [0];
  const count = Math.ceil((length - overlap) / (size - overlap));
  return Array.from({ length: count }, (_, index) => Math.floor((index * (length - size)) / (count - 1) + 0.5));
}

/** How much a window's pixels count, from one edge to the other: a raised cosine over `overlap` pixels at either end, 1 between. */
export function windowWeights(size: number, overlap: number): Float64Array {
  return Float64Array.from({ length: size }, (_, at) => {
    const share = (Math.min(at, size - 1 - at) + 0.5) / Math.max(overlap, 1);
    return Math.sin((Math.PI / 2) * Math.min(1, share)) ** 2;
  });
}

/** Each window's weights along one side, divided by their sum over all windows that overlap there. */
export function blendWeights(length: number, size: number, overlap: number): { origin: number; weights: Float32Array }[] {
  const origins = windowOrigins(length, size, overlap);
  const weights = windowWeights(size, overlap);
  const sums = new Float64Array(Math.max(length, size));
  for (const origin of origins) for (let at = 0; at < size; at++) sums[origin + at]! += weights[at]!;
  return origins.map((origin) => ({ origin, weights: Float32Array.from(weights, (weight, at) => weight / sums[origin + at]!) }));
}
