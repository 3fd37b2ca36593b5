/// A left operand straight from storage, [row][depth], beside the functions of kernels/parts/matrix_emulation.wgsl: a lane
/// holds the row of its sums.
fn load_left_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Left {
  let place = at + matrix_lane / 2 * stride;
  return Left(array(source[place], source[place + 1]));
}
