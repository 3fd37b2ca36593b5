// A matrix turned, so that the product that follows reads both of its operands along rows.
//
//   output[c, r] = input[r, c]        zero for rows ≤ r < padded rows
//
// input  [rows, 4·cols4], rows `input_stride4` vec4s apart: elem (`transpose_elem`) or f32 (`transpose_f32`)
// output [4·cols4, 4·padded_rows4] elem, contiguous
//
// One workgroup: 8 × 8 invocations, 32 rows × 32 columns; an invocation turns a block of 4 × 4 in registers. On both sides
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
  let turned = transpose(rows);
  for (var column = 0u; column < 4; column++) {
    output[p.output_offset4 + (4 * block.y + column) * p.padded_rows4 + block.x] = to_result(turned[column]);
  }
}

@compute @workgroup_size(8, 8)
fn transpose_elem(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let block = block_of(group.y * groups.x + group.x, local.xy);
  if is_inside(block) {
    var rows = mat4x4f();
    for (var i = 0u; i < 4 && 4 * block.x + i < p.rows; i++) {
      rows[i] = widen(elements[p.input_offset4 + (4 * block.x + i) * p.input_stride4 + block.y]);
    }
    store(block, rows);
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
    var rows = mat4x4f();
    for (var i = 0u; i < 4 && 4 * block.x + i < p.rows; i++) {
      rows[i] = floats[p.input_offset4 + (4 * block.x + i) * p.input_stride4 + block.y];
    }
    store(block, rows);
  }
}
