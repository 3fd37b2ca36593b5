// Where a linear kernel finds its rows: one after another, as in any GEMM.

fn input_row(row: u32) -> u32 {
  return p.input_offset4 + row * p.input_stride4;
}

/// What step `k4` of depth adds to a row's place.
fn input_column(k4: u32) -> u32 {
  return k4;
}

fn output_row(row: u32) -> u32 {
  return p.output_offset4 + row * p.output_stride4;
}
