/// A left operand straight from storage, [row][depth], beside the functions of kernels/parts/matrix_stand_in.wgsl: a lane
/// holds the row of its sums.
fn load_left_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Left {
  let place = at + matrix_lane / 2 * stride;
  let first = source[place];
  let second = source[place + 1];
  return Left(array(low_halves(first), high_halves(first), low_halves(second), high_halves(second)));
}
