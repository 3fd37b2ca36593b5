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
    let float16: number;
    if (magnitude > 0x7f800000) {
      float16 = 0x7e00 | ((magnitude >>> 13) & 0x3ff);
    } else if (magnitude >= 0x477ff000) {
      float16 = 0x7c00; // 65520, halfway between the largest float16 and the next, and everything above
    } else if (magnitude >= 0x38800000) {
      float16 = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13; // a carry rolls into the exponent by itself
    } else if (magnitude >= 0x33000000) {
      const shift = 126 - (magnitude >>> 23);
      const mantissa = (magnitude & 0x7fffff) | 0x800000;
      const rest = mantissa & ((1 << shift) - 1);
      float16 = mantissa >>> shift;
      if (rest > 1 << (shift - 1) || (rest === 1 << (shift - 1) && (float16 & 1) === 1)) float16++;
    } else {
      float16 = 0; // at most half of the smallest subnormal
    }
    out[i] = ((x >>> 16) & 0x8000) | float16;
  }
  return out;
}

/** The exact value of each IEEE binary16 pattern, NaN payloads included. */
export function float16BitsToFloat32(values: Uint16Array): Float32Array {
  const out = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const float16 = values[i]!;
    const exponent = (float16 >>> 10) & 0x1f;
    const mantissa = float16 & 0x3ff;
    let bits: number;
    if (exponent === 0x1f) {
      bits = 0x7f800000 | (mantissa << 13);
    } else if (exponent !== 0) {
      bits = ((exponent + 112) << 23) | (mantissa << 13);
    } else if (mantissa === 0) {
      bits = 0;
    } else {
      const shift = Math.clz32(mantissa) - 21; // a subnormal float16 is a normal float: move its leading one out
      bits = ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13);
    }
    out[i] = ((float16 & 0x8000) << 16) | bits;
  }
  return new Float32Array(out.buffer);
}

/** The exact value of each bfloat16 pattern: the upper half of a float. */
export function bfloat16BitsToFloat32(values: Uint16Array): Float32Array {
  const out = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = values[i]! << 16;
  return new Float32Array(out.buffer);
}
