/** Cuts items into runs whose sizes make `most` together, at most; what is larger stands alone. */
export function runsOf<T>(items: readonly T[], most: number, sizeOf: (item: T, index: number) => number): T[][] {
  const runs: T[][] = [];
  let sum = Number.POSITIVE_INFINITY;
  for (const [index, item] of items.entries()) {
    const size = sizeOf(item, index);
    if (sum + size > most) {
      runs.push([]);
      sum = 0;
    }
    runs.at(-1)!.push(item);
    sum += size;
  }
  return runs;
}
