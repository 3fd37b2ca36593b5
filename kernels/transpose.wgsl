// Matrix transpose, so that the GEMM that follows reads both of its operands along rows.
//
//   output[c, r] = input[r, c]        zero for rows ≤ r < padded rows
//
// input  [rows, 4·cols4], rows `input_stride4` vec4s apart: elem (`transpose_elem`) or f32 (`transpose_f32`)
// output [4·cols4, 4·padded_rows4] elem, contiguous
//
// One workgroup: 8 × 8 invocations, 32 rows × 32 columns; an invocation transposes a block of 4 × 4 in registers. On both sides
// eight neighbours move whole segments of 8 vec4s, which fills the sectors of a GPU's memory; a tile in workgroup memory
// would make the segments of a store longer, for a barrier that costs a CPU more than the copy.
// Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  rows: u32,
  padded_rows4: u32,
  cols4: u32,
  input_offset4: u32,
  input_stride4: u32,
  output_offset4: u32,
}

@group(0) @binding(0) var<storage, read> elements: array<elem4>;
@group(0) @binding(0) var<storage, read> floats: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

/// First row and column, in vec4s, of an invocation's block.
fn block_of(group: u32, local: vec2u) -> vec2u {
  let across = (p.cols4 + 7) / 8;
  return vec2u(group / across, group % across) * 8 + local.yx;
}

fn is_inside(block: vec2u) -> bool {
  return block.x < p.padded_rows4 && block.y < p.cols4;
}

fn store(block: vec2u, rows: mat4x4f) {
  let transposed = transpose(rows);
  let at = p.output_offset4 + 4 * block.y * p.padded_rows4 + block.x;
  output[at] = to_result(transposed[0]);
  output[at + p.padded_rows4] = to_result(transposed[1]);
  output[at + 2 * p.padded_rows4] = to_result(transposed[2]);
  output[at + 3 * p.padded_rows4] = to_result(transposed[3]);
}

fn elem_row(row: u32, column4: u32) -> vec4f {
  if row < p.rows {
    return widen(elements[p.input_offset4 + row * p.input_stride4 + column4]);
  }
  return vec4f();
}

fn f32_row(row: u32, column4: u32) -> vec4f {
  if row < p.rows {
    return floats[p.input_offset4 + row * p.input_stride4 + column4];
  }
  return vec4f();
}

@compute @workgroup_size(8, 8)
fn transpose_elem(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let block = block_of(group.y * groups.x + group.x, local.xy);
  if is_inside(block) {
    let row = 4 * block.x;
    let c = block.y;
    store(block, mat4x4f(elem_row(row, c), elem_row(row + 1, c), elem_row(row + 2, c), elem_row(row + 3, c)));
  }
}

@compute @workgroup_size(8, 8)
fn transpose_f32(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let block = block_of(group.y * groups.x + group.x, local.xy);
  if is_inside(block) {
    let row = 4 * block.x;
    let c = block.y;
    store(block, mat4x4f(f32_row(row, c), f32_row(row + 1, c), f32_row(row + 2, c), f32_row(row + 3, c)));
  }
}
