import { describe, expect, it } from "vitest";
import { bfloat16BitsToFloat32, float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/float16.js";

const PATTERNS = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The definition, in double precision. */
function decoded(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}

function encode(value: number): number {
  return float32ToFloat16Bits(Float32Array.of(value))[0]!;
}

describe("binary16", () => {
  it("decodes all 65 536 patterns by the definition", () => {
    const values = float16BitsToFloat32(PATTERNS);
    const wrong = [...PATTERNS].filter((p) => !Object.is(values[p], decoded(p)));
    expect(wrong).toEqual([]);
  });

  it("encodes what it decoded to the same pattern, NaN becoming quiet", () => {
    const back = float32ToFloat16Bits(float16BitsToFloat32(PATTERNS));
    const quiet = (p: number) => ((p & 0x7fff) > 0x7c00 ? p | 0x200 : p);
    expect([...PATTERNS].filter((p) => back[p] !== quiet(p))).toEqual([]);
  });

  it("rounds to nearest even around every midpoint of finite neighbours", () => {
    const wrong: number[] = [];
    for (let p = 0; p < 0x7bff; p++) {
      const middle = (decoded(p) + decoded(p + 1)) / 2; // exact in float32: 12 significant bits, at least 2^-25
      const step = 2 ** -23 * middle;
      if (encode(middle) !== p + (p & 1) || encode(middle - step) !== p || encode(middle + step) !== p + 1) wrong.push(p);
      if (encode(-middle) !== (0x8000 | (p + (p & 1)))) wrong.push(-p);
    }
    expect(wrong).toEqual([]);
  });

  it("overflows to infinity at 65520 and underflows to a signed zero at 2^-25", () => {
    expect(encode(65519.99)).toBe(0x7bff);
    expect(encode(65520)).toBe(0x7c00);
    expect(encode(-3e38)).toBe(0xfc00);
    expect(encode(2 ** -25)).toBe(0);
    expect(encode(-(2 ** -25))).toBe(0x8000);
    expect(encode(2 ** -149)).toBe(0);
    expect(encode(-0)).toBe(0x8000);
    expect(encode(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
  });

  it("takes a view into a larger buffer", () => {
    expect([...float32ToFloat16Bits(Float32Array.of(9, 1, -2, 9).subarray(1, 3))]).toEqual([0x3c00, 0xc000]);
  });
});

describe("bfloat16", () => {
  it("is the upper half of a float, for all patterns", () => {
    const bits = new Uint32Array(bfloat16BitsToFloat32(PATTERNS).buffer);
    expect([...PATTERNS].filter((p) => bits[p] !== p * 65536)).toEqual([]);
  });
});
