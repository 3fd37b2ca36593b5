// What the linear kernels share: parameters, the operands behind the product, and the epilogue. Needs gelu.wgsl.

/// Rows and columns sit at offsets and strides of their own, all counted in vec4s of elements.
struct Parameters {
  rows: u32,
  cols4: u32,
  depth4: u32,
  input_offset4: u32,
  input_stride4: u32,
  weight_offset4: u32,
  weight_stride4: u32,
  output_offset4: u32,
  output_stride4: u32,
  residual_offset4: u32,
  period: u32,
  /// 1: GELU behind the bias.
  gelu: u32,
  /// 1: the residual row is read from the output buffer. 2: from `table`, at row modulo `period`.
  residual: u32,
}

@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> table: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn output_at(row: u32, col4: u32) -> u32 {
  return p.output_offset4 + row * p.output_stride4 + col4;
}

/// Where the residual of four values lies in the output buffer.
fn residual_at(row: u32, col4: u32) -> u32 {
  return p.residual_offset4 + row * p.output_stride4 + col4;
}

/// A product's four sums on their way out: bias, GELU, a table's row. A residual in the output buffer is the kernel's to add.
fn epilogue(sum: vec4f, row: u32, col4: u32) -> vec4f {
  var value = sum + bias[p.weight_offset4 + col4];
  if p.gelu == 1 {
    value = gelu(value);
  }
  if p.residual == 2 {
    value += table[(row % p.period) * p.cols4 + col4];
  }
  return value;
}
