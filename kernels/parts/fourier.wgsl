// Partial Fourier sums, of low frequencies alone: ky from -band to band, kx from 0 to band, for the others are conjugates.
//
// twiddles [all] vec2f: cos and sin of 2π j / n, of a width and then of a height, computed in float64
// Coefficients are two vec4f each: real and imaginary parts of three channels.

struct Coefficient {
  re: vec3f,
  im: vec3f,
}

/// c · (cos + i sin).
fn turned(c: Coefficient, by: vec2f) -> Coefficient {
  return Coefficient(c.re * by.x - c.im * by.y, c.re * by.y + c.im * by.x);
}

/// Row `at` of ky = at - band, as a frequency from 0 to below n.
fn wrapped(at: u32, band: u32, n: u32) -> u32 {
  return (at + n - band) % n;
}
