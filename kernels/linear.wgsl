// Linear layer, a GEMM with a fused epilogue, for GPUs: tiles in workgroup memory.
//
//   output[m, n] = epilogue(Σ_k input[m, k] · weight[k, n] + bias[n])
//   epilogue: nothing | GELU (erf) | + residual row, from the output itself or from a table that repeats
//
// input  [rows, depth]  elem, row-major        weight [depth, cols] elem, depth-major (packed so at load)
// bias   [cols]         f32                    table  [period, cols] f32
// output [rows, cols]   result, row-major
// Rows and columns sit at offsets and strides of their own, all counted in vec4s, so that one weight holds query, key
// and value side by side and any part of it can be applied to any run of rows. depth and cols are multiples of 4:
// packing pads with zeros. Rows may be windows of feature maps, which is implicit GEMM convolution
// (parts/linear_windows.wgsl), and a grid of several layers computes as many GEMMs of one shape.
//
// One workgroup: WIDTH × HEIGHT invocations, each ROWS rows × 4 columns, f32 accumulators. Per step it stages
// DEPTH4 vec4s of depth: input HEIGHT·ROWS × DEPTH4 and weight 4·DEPTH4 × WIDTH vec4s.
// Workgroup memory: 16 · DEPTH4 · (HEIGHT·ROWS + 4·WIDTH) bytes in f32, 12 KB at 16 × 16 × 8 rows × DEPTH4 4.
// Invocations along x share an input row (a broadcast) and read neighbouring weight vectors (no bank conflict).
// Generated in front: elem4, result4, ROWS, DEPTH4; of parts/, linear_parameters, linear_rows or linear_windows, and an epilogue.

override WIDTH: u32 = 16;
override HEIGHT: u32 = 16;

@group(0) @binding(0) var<storage, read> input: array<elem4>;
@group(0) @binding(1) var<storage, read> weight: array<elem4>;
@group(0) @binding(4) var<storage, read_write> output: array<result4>;

var<workgroup> input_tile: array<elem4, HEIGHT * ROWS * DEPTH4>;
var<workgroup> weight_tile: array<elem4, 4 * DEPTH4 * WIDTH>;

fn store(sum: vec4f, row: u32, col4: u32, slice: u32) {
  var value = epilogue(sum, row, col4);
  if p.residual == 1 {
    value += of_result(output[slice * p.output_slice4 + residual_at(row, col4)]);
  }
  output[slice * p.output_slice4 + output_at(row, col4)] = to_result(value);
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn tiled(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let first_row = group.y * HEIGHT * ROWS;
  let first_col4 = group.x * WIDTH;
  let last_row = p.rows - 1;
  let input_slice = group.z * p.input_slice4;
  let weight_first = p.weight_offset4 + group.z * p.weight_slice4;
  let threads = WIDTH * HEIGHT;
  var sums: array<vec4f, ROWS>;

  for (var depth4 = 0u; depth4 < p.depth4; depth4 += DEPTH4) {
    for (var i = index; i < HEIGHT * ROWS * DEPTH4; i += threads) {
      let row = min(first_row + i / DEPTH4, last_row);
      let k4 = depth4 + i % DEPTH4;
      var value = elem4();
      if k4 < p.depth4 {
        value = input[input_slice + input_row(row) + input_column(k4)];
      }
      input_tile[i] = value;
    }
    for (var i = index; i < 4 * DEPTH4 * WIDTH; i += threads) {
      let k = 4 * depth4 + i / WIDTH;
      let col4 = first_col4 + i % WIDTH;
      var value = elem4();
      if k < 4 * p.depth4 && col4 < p.cols4 {
        value = weight[weight_first + k * p.weight_stride4 + col4];
      }
      weight_tile[i] = value;
    }
    workgroupBarrier();

    for (var k4 = 0u; k4 < DEPTH4; k4++) {
      let w = mat4x4f(
        widen(weight_tile[(4 * k4 + 0) * WIDTH + local.x]),
        widen(weight_tile[(4 * k4 + 1) * WIDTH + local.x]),
        widen(weight_tile[(4 * k4 + 2) * WIDTH + local.x]),
        widen(weight_tile[(4 * k4 + 3) * WIDTH + local.x]),
      );
      for (var r = 0u; r < ROWS; r++) {
        sums[r] += w * widen(input_tile[(local.y * ROWS + r) * DEPTH4 + k4]);
      }
    }
    workgroupBarrier();
  }

  let col4 = first_col4 + local.x;
  for (var r = 0u; r < ROWS; r++) {
    let row = first_row + local.y * ROWS + r;
    if row < p.rows && col4 < p.cols4 {
      store(sums[r], row, col4, group.z);
    }
  }
}
