/** Percent with one digit: never 100 where something is left, and never 0 where something is there. */
export function percent(share: number): string {
  if (share > 0 && share < 0.0005) return "<0.1 %";
  return `${(100 * Math.min(share, share < 1 ? 0.999 : 1)).toFixed(1)} %`;
}
