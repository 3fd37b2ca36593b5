/// d/dx x·Φ(x) = Φ(x) + x·φ(x), Φ and φ the standard normal distribution and its density; erf comes from parts/gelu.wgsl.
fn gelu_derivative(x: vec4f) -> vec4f {
  return 0.5 * (1.0 + erf(x * 0.70710678118654752)) + 0.39894228040143268 * x * exp(-0.5 * x * x);
}
