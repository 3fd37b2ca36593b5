// The functions of matrix_units.wgsl in plain WGSL, for adapters without matrix units: the same layouts, places and strides,
// so that a kernel's indexing can be tested anywhere. It is not meant to be fast.
//
// Of each fragment a lane (one of 32 invocations in a row) holds what its part of the result needs: 8 columns of one row of
// the sum, that row of the left operand, and those columns of the right one.

struct Left {
  depth: array<vec4f, 4>,
}
struct Right {
  /// Two vectors, 8 columns, for each of 16 steps of depth.
  columns: array<vec4f, 32>,
}
struct Sum {
  low: vec4f,
  high: vec4f,
}

var<private> matrix_lane: u32;

fn matrix_begin(index: u32) {
  matrix_lane = index % 32;
}

fn low_halves(words: vec4u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn high_halves(words: vec4u) -> vec4f {
  return vec4f(unpack2x16float(words.z), unpack2x16float(words.w));
}

fn load_left(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Left {
  let place = at + matrix_lane / 2 * stride;
  let first = source[place];
  let second = source[place + 1];
  return Left(array(low_halves(first), high_halves(first), low_halves(second), high_halves(second)));
}

fn load_right(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var k = 0u; k < 16; k++) {
    let words = source[at + k * stride + matrix_lane % 2];
    right.columns[2 * k] = low_halves(words);
    right.columns[2 * k + 1] = high_halves(words);
  }
  return right;
}

fn load_right_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var k = 0u; k < 16; k++) {
    let words = source[at + k * stride + matrix_lane % 2];
    right.columns[2 * k] = low_halves(words);
    right.columns[2 * k + 1] = high_halves(words);
  }
  return right;
}

/// Sets column `column` of the lane's eight from its 16 steps of depth.
fn set_column(right: ptr<function, Right>, column: u32, first: vec4u, second: vec4u) {
  var depth = array(low_halves(first), high_halves(first), low_halves(second), high_halves(second));
  for (var k = 0u; k < 16; k++) {
    right.columns[2 * k + column / 4][column % 4] = depth[k / 4][k % 4];
  }
}

fn load_right_transposed(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var c = 0u; c < 8; c++) {
    let place = at + (8 * (matrix_lane % 2) + c) * stride;
    set_column(&right, c, source[place], source[place + 1]);
  }
  return right;
}

fn load_right_stored_transposed(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var c = 0u; c < 8; c++) {
    let place = at + (8 * (matrix_lane % 2) + c) * stride;
    set_column(&right, c, source[place], source[place + 1]);
  }
  return right;
}

fn multiply_add(left: Left, right: Right, sum: Sum) -> Sum {
  var l = left.depth;
  var r = right.columns;
  var result = sum;
  for (var k = 0u; k < 16; k++) {
    let x = l[k / 4][k % 4];
    result.low += x * r[2 * k];
    result.high += x * r[2 * k + 1];
  }
  return result;
}

fn store_sum(target_memory: ptr<workgroup, Staging>, at: u32, sum: Sum, stride: u32) {
  let place = at + matrix_lane / 2 * stride + matrix_lane % 2 * 2;
  target_memory[place] = bitcast<vec4u>(sum.low);
  target_memory[place + 1] = bitcast<vec4u>(sum.high);
}
