// Reduction along rows: gradients of biases (rows of a transposed gradient) and of whole buffers, which are one long row.
//
//   output[r] (+)= scale · Σ_j input[r, j]
//
// input  [rows, 4·cols4], rows `input_stride4` vec4s apart: elem (`sum_elem`) or f32 (`sum_f32`)
// output [rows] f32 at any offset; `accumulate` adds to what is there
//
// One workgroup: LANES × ROWS invocations, LANES of them to a row; a lane adds in blocks of 32 vec4s, so that the rounding
// of a long row grows with its blocks and not with its length.
// Workgroup memory: 4 · LANES · ROWS bytes. In front: elem4, parts/lane_sum.wgsl.

struct Parameters {
  rows: u32,
  cols4: u32,
  input_offset4: u32,
  input_stride4: u32,
  output_offset: u32,
  accumulate: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> elements: array<elem4>;
@group(0) @binding(0) var<storage, read> floats: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

const BLOCK = 32u;

/// Adds up the lanes of each row and stores the row's sum; every invocation of the workgroup must call it.
fn store_sum(row: u32, sum: vec4f, lane: u32, index: u32) {
  let whole = lane_sum(sum.x + sum.y + sum.z + sum.w, lane, index);
  if lane == 0 && row < p.rows {
    var value = p.scale * whole;
    if p.accumulate != 0 {
      value += output[p.output_offset + row];
    }
    output[p.output_offset + row] = value;
  }
}

@compute @workgroup_size(LANES, ROWS)
fn sum_elem(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local.y;
  var sum = vec4f();
  if row < p.rows {
    let start = p.input_offset4 + row * p.input_stride4;
    for (var block = local.x; block < p.cols4; block += LANES * BLOCK) {
      var part = vec4f();
      for (var i = block; i < min(block + LANES * BLOCK, p.cols4); i += LANES) {
        part += widen(elements[start + i]);
      }
      sum += part;
    }
  }
  store_sum(row, sum, local.x, index);
}

@compute @workgroup_size(LANES, ROWS)
fn sum_f32(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local.y;
  var sum = vec4f();
  if row < p.rows {
    let start = p.input_offset4 + row * p.input_stride4;
    for (var block = local.x; block < p.cols4; block += LANES * BLOCK) {
      var part = vec4f();
      for (var i = block; i < min(block + LANES * BLOCK, p.cols4); i += LANES) {
        part += floats[start + i];
      }
      sum += part;
    }
  }
  store_sum(row, sum, local.x, index);
}
