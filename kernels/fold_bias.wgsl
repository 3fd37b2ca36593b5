// Folding LayerNorm into a linear layer, its shift: a trained bias as GEMMs take it.
//
//   folded[first + o] = factor · (bias[o] + Σ_i weight[o, i] · beta[i])
//
// parameters f32, all of the model's, flat: weight [rows, 4·cols4], bias [rows] and beta [4·cols4] lie at offsets in it
// folded     f32
// One workgroup: LANES × ROWS invocations, LANES of them to a row.
// Workgroup memory: 4 · LANES · ROWS bytes. In front: parts/lane_sum.wgsl.

struct Parameters {
  rows: u32,
  cols4: u32,
  weight_offset4: u32,
  /// In numbers.
  bias_offset: u32,
  beta_offset4: u32,
  /// 1: there is a LayerNorm in front.
  norm: u32,
  factor: f32,
  /// In numbers.
  first: u32,
}

@group(0) @binding(0) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> folded: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES, ROWS)
fn fold(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = group.x * ROWS + local.y;
  var sum = 0.0;
  if p.norm == 1 {
    let start = p.weight_offset4 + min(row, p.rows - 1) * p.cols4;
    for (var i = local.x; i < p.cols4; i += LANES) {
      sum += dot(parameters[start + i], parameters[p.beta_offset4 + i]);
    }
  }
  let shift = lane_sum(sum, local.x, index);
  if local.x == 0 && row < p.rows {
    let at = p.bias_offset + row;
    folded[p.first + row] = p.factor * (parameters[at / 4][at % 4] + shift);
  }
}
