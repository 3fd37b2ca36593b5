// Folding LayerNorm into a linear layer, backward: gradients of the folded matrix and bias to those of the
// published ones and of the LayerNorm.
//
//   With V[o, i] = gamma[i] · weight[o, i] and c[o] = bias[o] + Σ_i weight[o, i] · beta[i] as the GEMMs used them:
//   dgamma[i] += Σ_o weight[o, i] · dV[o, i]        dweight[o, i] = gamma[i] · dV[o, i] + dc[o] · beta[i]
//   dbeta[i]  += Σ_o weight[o, i] · dc[o]           dbias = dc
//
// parameters, gradients f32, all of the model's, flat and alike: weight [rows, 4·cols4], its bias [rows], gamma and
// beta [4·cols4] lie at the same offsets in both; dV is replaced by dweight in place.
// One workgroup: COLS vec4s of columns × LANES invocations, which share the rows; sums meet in workgroup memory.
// Workgroup memory: 32 · COLS · LANES bytes. Once a step and not once a batch of rows: that is why scale and shift are folded.
// Generated in front: nothing of it is used.

override COLS: u32 = 8;
override LANES: u32 = 16;

struct Parameters {
  rows: u32,
  cols4: u32,
  weight_offset4: u32,
  /// In numbers.
  bias_offset: u32,
  gamma_offset4: u32,
  beta_offset4: u32,
}

@group(0) @binding(0) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> gammas: array<vec4f, COLS * LANES>;
var<workgroup> betas: array<vec4f, COLS * LANES>;

@compute @workgroup_size(COLS, LANES)
fn unfold(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let col4 = group.x * COLS + local.x;
  var dgamma = vec4f();
  var dbeta = vec4f();
  if col4 < p.cols4 {
    let gamma = parameters[p.gamma_offset4 + col4];
    let beta = parameters[p.beta_offset4 + col4];
    for (var row = local.y; row < p.rows; row += LANES) {
      let at = p.weight_offset4 + row * p.cols4 + col4;
      let weight = parameters[at];
      let gradient = gradients[at];
      let bias_at = p.bias_offset + row;
      let bias = gradients[bias_at / 4][bias_at % 4];
      dgamma += weight * gradient;
      dbeta += weight * bias;
      gradients[at] = gamma * gradient + bias * beta;
    }
  }
  gammas[index] = dgamma;
  betas[index] = dbeta;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if local.y < half {
      gammas[index] += gammas[index + half * COLS];
      betas[index] += betas[index + half * COLS];
    }
    workgroupBarrier();
  }
  if local.y == 0 && col4 < p.cols4 {
    gradients[p.gamma_offset4 + col4] += gammas[index];
    gradients[p.beta_offset4 + col4] += betas[index];
  }
}
