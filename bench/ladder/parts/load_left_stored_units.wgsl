/// A left operand straight from storage, [row][depth], beside the functions of kernels/parts/matrix_units.wgsl.
fn load_left_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(source, at, stride);
}
