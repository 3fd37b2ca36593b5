/// Φ(x) + x·φ(x), the derivative of gelu(); needs gelu.wgsl.
fn gelu_derivative(x: vec4f) -> vec4f {
  return 0.5 * (1.0 + erf(x * 0.70710678118654752)) + x * exp(-0.5 * x * x) * 0.3989422804014327;
}
