// Linear, step 11: the next panel is fetched while this one is multiplied.
//
// Changed:   a panel goes into four named registers first, and from there into workgroup memory once the panel before is
//            done with. Its loads set out before 16 multiplications and are waited for after them.
// Predicted: step 10 waits for storage in full, once a panel: some 500 ns, 48 times at a depth of 768, while 16 multiplications and
//            their loads take about as long. Hiding the shorter of the two is worth up to twice the speed where only one or
//            two workgroups fit a core. 16 registers a lane more.
// Lesson:    loads that set out before the multiplications arrive during them, if registers with names hold them
// Workgroup memory: 10.3 KB. Accepts depth that is a multiple of 16 and cols that are of 8.
// In front: kernels/parts/matrix_units.wgsl or matrix_emulation.wgsl.

struct Parameters {
  rows: u32,
  depth: u32,
  cols: u32,
}

/// vec4us of a staged row: 16 float16 numbers of input, 128 of weight, and 16 bytes that nobody reads.
const INPUT_STRIDE = 3u;
const WEIGHT_STRIDE = 17u;
const WEIGHTS = 128 * INPUT_STRIDE;

alias Staging = array<vec4u, WEIGHTS + 16 * WEIGHT_STRIDE>;

@group(0) @binding(0) var<storage, read> input: array<vec4u>;
@group(0) @binding(1) var<storage, read> weight: array<vec4u>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4u>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> staging: Staging;

/// Four fragments side by side: 16 × 64.
struct Row {
  a: Sum,
  b: Sum,
  c: Sum,
  d: Sum,
}

struct Weights {
  a: Right,
  b: Right,
  c: Right,
  d: Right,
}

fn multiply_row(left: Left, weights: Weights, sums: Row) -> Row {
  return Row(
    multiply_add(left, weights.a, sums.a),
    multiply_add(left, weights.b, sums.b),
    multiply_add(left, weights.c, sums.c),
    multiply_add(left, weights.d, sums.d),
  );
}

/// Adds the bias to a fragment and writes it, by way of the subgroup's corner of the staging memory.
fn finish(sum: Sum, index: u32, first_row: u32, first_col8: u32) {
  let corner = index / 32 * 64;
  let lane = index % 32;
  store_sum(&staging, corner, sum, 4);
  workgroupBarrier();
  let row = first_row + lane / 2;
  let col8 = first_col8 + lane % 2;
  if row < p.rows && 8 * col8 < p.cols {
    let a = bitcast<vec4f>(staging[corner + 2 * lane]) + bias[2 * col8];
    let b = bitcast<vec4f>(staging[corner + 2 * lane + 1]) + bias[2 * col8 + 1];
    output[row * (p.cols / 8) + col8] =
      vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
  }
  workgroupBarrier();
}

@compute @workgroup_size(128)
fn linear(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  matrix_begin(index);
  let depth8 = p.depth / 8;
  let cols8 = p.cols / 8;
  let sub_row = index / 64 * 64;
  let sub_col8 = index / 32 % 2 * 8;
  // An invocation stages two vectors of each operand. Rows and columns past the edge repeat the last one, unstored.
  let input0 = min(128 * group.y + index / 2, p.rows - 1) * depth8 + index % 2;
  let input1 = min(128 * group.y + index / 2 + 64, p.rows - 1) * depth8 + index % 2;
  let weight0 = index / 16 * cols8 + min(16 * group.x + index % 16, cols8 - 1);
  let weight1 = weight0 + 8 * cols8;
  let input_place = index / 2 * INPUT_STRIDE + index % 2;
  let weight_place = WEIGHTS + index / 16 * WEIGHT_STRIDE + index % 16;
  var s0: Row;
  var s1: Row;
  var s2: Row;
  var s3: Row;
  var a0 = input[input0];
  var a1 = input[input1];
  var b0 = weight[weight0];
  var b1 = weight[weight1];

  for (var k = 0u; k < p.depth; k += 16) {
    staging[input_place] = a0;
    staging[input_place + 64 * INPUT_STRIDE] = a1;
    staging[weight_place] = b0;
    staging[weight_place + 8 * WEIGHT_STRIDE] = b1;
    workgroupBarrier();
    let next = k + 16;
    if next < p.depth {
      a0 = input[input0 + next / 8];
      a1 = input[input1 + next / 8];
      b0 = weight[weight0 + next * cols8];
      b1 = weight[weight1 + next * cols8];
    }

    let at = WEIGHTS + sub_col8;
    let weights = Weights(
      load_right(&staging, at, WEIGHT_STRIDE),
      load_right(&staging, at + 2, WEIGHT_STRIDE),
      load_right(&staging, at + 4, WEIGHT_STRIDE),
      load_right(&staging, at + 6, WEIGHT_STRIDE),
    );
    s0 = multiply_row(load_left(&staging, sub_row * INPUT_STRIDE, INPUT_STRIDE), weights, s0);
    s1 = multiply_row(load_left(&staging, (sub_row + 16) * INPUT_STRIDE, INPUT_STRIDE), weights, s1);
    s2 = multiply_row(load_left(&staging, (sub_row + 32) * INPUT_STRIDE, INPUT_STRIDE), weights, s2);
    s3 = multiply_row(load_left(&staging, (sub_row + 48) * INPUT_STRIDE, INPUT_STRIDE), weights, s3);
    workgroupBarrier();
  }

  let row = 128 * group.y + sub_row;
  let col8 = 16 * group.x + sub_col8;
  // One copy of the way out for all 16 fragments: written out, it takes a CPU's compiler much longer.
  for (var r = 0u; r < 4; r++) {
    var sums = s0;
    if r == 1 { sums = s1; } else if r == 2 { sums = s2; } else if r == 3 { sums = s3; }
    for (var c = 0u; c < 4; c++) {
      var sum = sums.a;
      if c == 1 { sum = sums.b; } else if c == 2 { sum = sums.c; } else if c == 3 { sum = sums.d; }
      finish(sum, index, row + 16 * r, col8 + 2 * c);
    }
  }
}
