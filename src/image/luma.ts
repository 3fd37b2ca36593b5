/** ITU-R BT.601 luma of three values on any one scale, not rounded. */
export const luma = (r: number, g: number, b: number): number => 0.299 * r + 0.587 * g + 0.114 * b;

/**
 * The same of 8-bit levels, by the weights and the rounding of Pillow's `convert("L")`, bit-exact. The nearest level to
 * {@link luma} is another one for 9716 of the 2²⁴ colours: Pillow's weights have 16 bits.
 */
export const lumaLevel = (r: number, g: number, b: number): number => (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
