// Node 20 has no Float16Array, so the two 16-bit formats of checkpoints are converted by their bits.

/**
 * IEEE binary16 bits of each value: rounded to nearest even, with subnormals; too large becomes infinity, NaN stays a
 * (quiet) NaN with the upper bits of its payload.
 */
export function float32ToFloat16Bits(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    const magnitude = x & 0x7fffffff;
    let half: number;
    if (magnitude > 0x7f800000) {
      half = 0x7e00 | ((magnitude >>> 13) & 0x3ff);
    } else if (magnitude >= 0x477ff000) {
      half = 0x7c00; // 65520, halfway between the largest half and the next, and everything above
    } else if (magnitude >= 0x38800000) {
      half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13; // a carry rolls into the exponent by itself
    } else if (magnitude >= 0x33000000) {
      const shift = 126 - (magnitude >>> 23);
      const mantissa = (magnitude & 0x7fffff) | 0x800000;
      const rest = mantissa & ((1 << shift) - 1);
      half = mantissa >>> shift;
      if (rest > 1 << (shift - 1) || (rest === 1 << (shift - 1) && (half & 1) === 1)) half++;
    } else {
      half = 0; // at most half of the smallest subnormal
    }
    out[i] = ((x >>> 16) & 0x8000) | half;
  }
  return out;
}

/** The exact value of each IEEE binary16 pattern, NaN payloads included. */
export function float16BitsToFloat32(halves: Uint16Array): Float32Array {
  const out = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    let bits: number;
    if (exponent === 0x1f) {
      bits = 0x7f800000 | (mantissa << 13);
    } else if (exponent !== 0) {
      bits = ((exponent + 112) << 23) | (mantissa << 13);
    } else if (mantissa === 0) {
      bits = 0;
    } else {
      const shift = Math.clz32(mantissa) - 21; // a subnormal half is a normal float: move its leading one out
      bits = ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13);
    }
    out[i] = ((half & 0x8000) << 16) | bits;
  }
  return new Float32Array(out.buffer);
}

/** The exact value of each bfloat16 pattern: the upper half of a float. */
export function bfloat16BitsToFloat32(halves: Uint16Array): Float32Array {
  const out = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) out[i] = halves[i]! << 16;
  return new Float32Array(out.buffer);
}
