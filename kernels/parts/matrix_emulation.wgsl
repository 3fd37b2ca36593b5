// Emulation of matrix units: the functions of matrix_units.wgsl in plain WGSL, for adapters without such units. The same
// layouts, places and strides, so that a kernel's indexing can be tested anywhere. It is not meant to be fast.
//
// Of each fragment a lane (one of 32 invocations in a row) holds what its part of the result needs: 8 columns of one row of
// the sum, that row of the left operand, and those columns of the right one. Operands stay packed until they are multiplied:
// a driver without loops in its inliner compiles fewer of them.

struct Left {
  /// 16 steps of depth.
  words: array<vec4u, 2>,
}
struct Right {
  /// Eight columns of each of 16 steps of depth, or, transposed, twice eight steps of depth of each of 8 columns.
  words: array<vec4u, 16>,
  transposed: bool,
}
struct Sum {
  low: vec4f,
  high: vec4f,
}

var<private> matrix_lane: u32;

fn matrix_begin(index: u32) {
  matrix_lane = index % 32;
}

fn low_f16(words: vec4u) -> vec4f {
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn high_f16(words: vec4u) -> vec4f {
  return vec4f(unpack2x16float(words.z), unpack2x16float(words.w));
}

fn load_left(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Left {
  let place = at + matrix_lane / 2 * stride;
  return Left(array(source[place], source[place + 1]));
}

fn load_right(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var k = 0u; k < 16; k++) {
    right.words[k] = source[at + k * stride + matrix_lane % 2];
  }
  return right;
}

fn load_right_transposed(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var i = 0u; i < 16; i++) {
    right.words[i] = source[at + (8 * (matrix_lane % 2) + i / 2) * stride + i % 2];
  }
  right.transposed = true;
  return right;
}

fn load_right_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var k = 0u; k < 16; k++) {
    right.words[k] = source[at + k * stride + matrix_lane % 2];
  }
  return right;
}

fn load_right_stored_transposed(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  var right: Right;
  for (var i = 0u; i < 16; i++) {
    right.words[i] = source[at + (8 * (matrix_lane % 2) + i / 2) * stride + i % 2];
  }
  right.transposed = true;
  return right;
}

fn multiply_add(left: Left, right: Right, sum: Sum) -> Sum {
  var columns = right.words;
  var low = sum.low;
  var high = sum.high;
  if right.transposed {
    let a = low_f16(left.words[0]);
    let b = high_f16(left.words[0]);
    let c = low_f16(left.words[1]);
    let d = high_f16(left.words[1]);
    for (var i = 0u; i < 4; i++) {
      let first = columns[2 * i];
      let second = columns[2 * i + 1];
      low[i] += dot(a, low_f16(first)) + dot(b, high_f16(first)) + dot(c, low_f16(second)) + dot(d, high_f16(second));
      let third = columns[8 + 2 * i];
      let fourth = columns[9 + 2 * i];
      high[i] += dot(a, low_f16(third)) + dot(b, high_f16(third)) + dot(c, low_f16(fourth)) + dot(d, high_f16(fourth));
    }
  } else {
    var depth = left.words;
    for (var k = 0u; k < 16; k++) {
      let x = unpack2x16float(depth[k / 8][k / 2 % 4])[k % 2];
      low += x * low_f16(columns[k]);
      high += x * high_f16(columns[k]);
    }
  }
  return Sum(low, high);
}

fn store_sum(target_memory: ptr<workgroup, Staging>, at: u32, sum: Sum, stride: u32) {
  let place = at + matrix_lane / 2 * stride + matrix_lane % 2 * 2;
  target_memory[place] = bitcast<vec4u>(sum.low);
  target_memory[place + 1] = bitcast<vec4u>(sum.high);
}
