type Numbers = ArrayLike<number>;

export interface AttentionGradients {
  query: Float64Array;
  key: Float64Array;
  value: Float64Array;
  /** log Σ exp of every query's scores. */
  logSum: Float64Array;
  /** do · o of every query. */
  product: Float64Array;
}

/**
 * Gradients of one head of one sequence that reads one context: query, key, value, output and dL/do are [tokens, size]. Statistics
 * that are given are taken as they are.
 */
export function attendBackward(
  tokens: number,
  size: number,
  query: Numbers,
  key: Numbers,
  value: Numbers,
  output: Numbers,
  outputGradient: Numbers,
  statistics?: { logSum: Numbers; product: Numbers },
): AttentionGradients {
  const inner = (a: Numbers, i: number, b: Numbers, j: number) => {
    let sum = 0;
    for (let c = 0; c < size; c++) sum += a[i * size + c]! * b[j * size + c]!;
    return sum;
  };
  const gradients: AttentionGradients = {
    query: new Float64Array(tokens * size),
    key: new Float64Array(tokens * size),
    value: new Float64Array(tokens * size),
    logSum: new Float64Array(tokens),
    product: new Float64Array(tokens),
  };
  for (let i = 0; i < tokens; i++) {
    const scores = Float64Array.from({ length: tokens }, (_, j) => inner(query, i, key, j));
    const highest = scores.reduce((a, b) => Math.max(a, b));
    const logSum = highest + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - highest), 0));
    gradients.logSum[i] = statistics?.logSum[i] ?? logSum;
    gradients.product[i] = statistics?.product[i] ?? inner(outputGradient, i, output, i);
    for (let j = 0; j < tokens; j++) {
      const weight = Math.exp(scores[j]! - gradients.logSum[i]!);
      const scoreGradient = weight * (inner(outputGradient, i, value, j) - gradients.product[i]!);
      for (let c = 0; c < size; c++) {
        gradients.query[i * size + c]! += scoreGradient * key[j * size + c]!;
        gradients.key[j * size + c]! += scoreGradient * query[i * size + c]!;
        gradients.value[j * size + c]! += weight * outputGradient[i * size + c]!;
      }
    }
  }
  return gradients;
}
