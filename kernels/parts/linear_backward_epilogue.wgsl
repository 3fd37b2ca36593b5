// Epilogue of a GEMM of the backward pass: the derivative of the activation in front of what was multiplied.
// Needs linear_parameters.wgsl, gelu.wgsl and gelu_derivative.wgsl.

/// A backward pass has none.
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
/// GELU's arguments, or ReLU's results, laid out as the output is.
@group(0) @binding(3) var<storage, read> table: array<elem4>;

fn epilogue(sum: vec4f, row: u32, col4: u32) -> vec4f {
  let x = widen(table[p.table_offset4 + output_at(row, col4) - p.output_offset4]);
  if p.activation == 1 {
    return sum * gelu_derivative(x);
  }
  return select(vec4f(), sum, x > vec4f());
}
