// Folding LayerNorm into a linear layer, its scale: a trained matrix as GEMMs take it, as published and transposed.
//
//   forward[i, column + o]  = factor · gamma[i] · weight[o, i]      depth-major, what a forward pass multiplies with
//   backward[row + o, i]    =          gamma[i] · weight[o, i]      as published, what a backward pass multiplies with
//
// parameters  f32, all of the model's, flat: weight [rows, 4·cols4] and gamma [4·cols4] lie at offsets in it
// forward     [4·cols4, forward_stride] elem     backward [.., 4·cols4] elem
// The factor is the 1/√d of queries, which is not part of the backward matrix: attention's own backward pass multiplies with it.
// One invocation: a block of 4 × 4, so that both orientations are read and written in whole vectors.
// Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  rows4: u32,
  cols4: u32,
  weight_offset4: u32,
  gamma_offset4: u32,
  /// 1: there is a LayerNorm in front.
  norm: u32,
  factor: f32,
  /// First column of the forward matrix, first row of the backward one: where this matrix stands beside others.
  column4: u32,
  forward_stride4: u32,
}

@group(0) @binding(0) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> forward: array<result4>;
@group(0) @binding(2) var<storage, read_write> backward: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(8, 8)
fn fold(@builtin(global_invocation_id) id: vec3u) {
  // Neighbours along x write neighbouring columns of the forward matrix.
  let o4 = id.x;
  let i4 = id.y;
  if o4 >= p.rows4 || i4 >= p.cols4 {
    return;
  }
  var gamma = vec4f(1.0);
  if p.norm == 1 {
    gamma = parameters[p.gamma_offset4 + i4];
  }
  var block: mat4x4f;
  for (var o = 0u; o < 4; o++) {
    block[o] = gamma * parameters[p.weight_offset4 + (4 * o4 + o) * p.cols4 + i4];
    backward[(4 * (p.column4 + o4) + o) * p.cols4 + i4] = to_result(block[o]);
  }
  let transposed = transpose(block);
  for (var i = 0u; i < 4; i++) {
    forward[(4 * i4 + i) * p.forward_stride4 + p.column4 + o4] = to_result(p.factor * transposed[i]);
  }
}
