// LayerNorm, forward, over the last axis (Ba, Kiros, Hinton 2016), eps 1e-6, population variance, two passes.
//
//   output[m, i] = (input[m, i] - mean(m)) / sqrt(variance(m) + eps)  [· gamma[i] + beta[i] where AFFINE]
//
// input [rows, width] f32, the residual stream, zero in the padding up to the next vec4; output [rows, width] result. Rows are
// their strides apart; the padding behind `width` is written as zero, which the GEMMs that follow rely on.
// Without AFFINE the scale and shift have been folded into the matrices that follow.
//
// One workgroup: LANES × ROWS invocations, LANES of them to a row. Three sweeps over a row, the last two from cache.
// One-pass variance (E[x²] - mean²) was refused: it cancels where the mean is large.
// Workgroup memory: 4 · LANES · ROWS bytes. In front: result4, parts/lane_sum.wgsl.

override AFFINE: bool = false;

struct Parameters {
  rows: u32,
  width: u32,
  input_stride4: u32,
  input_offset4: u32,
  output_offset4: u32,
  output_stride4: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(2) var<storage, read> beta: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES, ROWS)
fn normalize_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local.y;
  let start = p.input_offset4 + min(row, p.rows - 1) * p.input_stride4;
  let width4 = (p.width + 3) / 4;

  var sum = vec4f();
  for (var i = local.x; i < width4; i += LANES) {
    sum += input[start + i];
  }
  let mean = lane_sum(sum.x + sum.y + sum.z + sum.w, local.x, index) / f32(p.width);
  workgroupBarrier();

  var squares = vec4f();
  for (var i = local.x; i < width4; i += LANES) {
    let centred = input[start + i] - mean;
    let inside = vec4u(4 * i) + vec4u(0, 1, 2, 3) < vec4u(p.width);
    squares += select(vec4f(), centred * centred, inside);
  }
  let variance = lane_sum(squares.x + squares.y + squares.z + squares.w, local.x, index) / f32(p.width);
  let scale = 1.0 / sqrt(variance + 1e-6);

  if row < p.rows {
    let target_row = p.output_offset4 + row * p.output_stride4;
    for (var i = local.x; i < p.output_stride4; i += LANES) {
      var value = vec4f();
      if i < width4 {
        value = (input[start + i] - mean) * scale;
        if AFFINE {
          value = value * gamma[i] + beta[i];
        }
        value = select(vec4f(), value, vec4u(4 * i) + vec4u(0, 1, 2, 3) < vec4u(p.width));
      }
      output[target_row + i] = to_result(value);
    }
  }
}
