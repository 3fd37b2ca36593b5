// Implicit GEMM convolution: where a linear kernel finds its rows when they are windows of 3 × 3 pixels, im2col without
// storing the columns. Maps are [images, side + 2, side + 2, channels] with a border of zeros, so that no window meets an edge;
// row m is pixel m of the maps without their border, step k of depth is channel k mod C of tap k / C. Strides are channels.

/// A pixel's window begins at this position of the bordered maps.
fn window(row: u32) -> u32 {
  let pixel = p.first_pixel + row;
  let y = pixel / p.side;
  return (y + 2 * (y / p.side)) * (p.side + 2) + pixel % p.side;
}

fn input_row(row: u32) -> u32 {
  return p.input_offset4 + window(row) * p.input_stride4;
}

fn input_column(k4: u32) -> u32 {
  let tap = k4 / p.input_stride4;
  return ((tap / 3) * (p.side + 2) + tap % 3) * p.input_stride4 + k4 % p.input_stride4;
}

/// The window's middle.
fn output_row(row: u32) -> u32 {
  return p.output_offset4 + (window(row) + p.side + 3) * p.output_stride4;
}
