// Parameters of the linear kernels.

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
  table_offset4: u32,
  /// Rows of the table before it repeats.
  period: u32,
  /// 1: a bias is added.
  bias: u32,
  /// 1: GELU, 2: ReLU.
  activation: u32,
  /// 1: the residual row is read from the output buffer. 2: from `table`, at row modulo `period`.
  residual: u32,
  /// Slices are GEMMs of one shape side by side, one a layer of the grid, as in split-K: how far apart their operands lie.
  input_slice4: u32,
  weight_slice4: u32,
  output_slice4: u32,
  /// Side of the maps where rows are windows, and the pixel that row 0 is.
  side: u32,
  first_pixel: u32,
}

@group(1) @binding(0) var<uniform> p: Parameters;

fn output_at(row: u32, col4: u32) -> u32 {
  return output_row(row) + col4;
}

/// Where the residual of four values lies in the output buffer.
fn residual_at(row: u32, col4: u32) -> u32 {
  return p.residual_offset4 + output_row(row) - p.output_offset4 + col4;
}
