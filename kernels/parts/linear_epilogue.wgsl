// Epilogue of a GEMM: bias, activation, rows of another buffer. Needs linear_parameters.wgsl and gelu.wgsl.

@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> table: array<vec4f>;

/// Four sums of the GEMM on their way out. A residual in the output buffer is the kernel's to add.
fn epilogue(sum: vec4f, row: u32, col4: u32) -> vec4f {
  var value = sum;
  if p.bias == 1 {
    value += bias[p.weight_offset4 + col4];
  }
  if p.activation == 1 {
    value = gelu(value);
  } else if p.activation == 2 {
    value = max(value, vec4f());
  }
  if p.residual == 2 {
    value += table[p.table_offset4 + (row % p.period) * p.cols4 + col4];
  }
  return value;
}
