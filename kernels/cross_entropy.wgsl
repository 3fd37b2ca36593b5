// Softmax cross-entropy with label smoothing (Szegedy et al. 2016) and class weights, forward and backward in one.
//
//   t[m, c] = label_share where c is the label, else other_share: 1 - ε + ε / classes and ε / classes
//   S[m] = Σ_c w[c] · t[m, c]      d[m, c] = max_c z[m, c] - z[m, c]      L[m] = log Σ_c exp(-d[m, c])
//   partials[m]    = scale[m] · Σ_c w[c] · t[m, c] · (L[m] + d[m, c])
//   gradient[m, c] = loss_scale · scale[m] · (S[m] · softmax_c(z[m, c]) - w[c] · t[m, c])
//
// That is torch.nn.functional.cross_entropy where scale[m] = 1 / Σ w[label] over the batch: the partials add up to its mean.
// L and d are not negative, and exp has no argument above 0: no logit is too large, and no summand of the loss cancels another.
// logits (z) [rows, 4·cols4] f32, whose columns from `classes` on may hold anything     class_weights (w) f32, padded likewise
// targets [rows] pairs of u32: the label, and the bits of the f32 that is scale[m]
// partials [rows] vec4s, the loss and zeros, since sums are over whole vec4s     gradient [rows, 4·cols4] result, dL/dz times loss_scale, zero from column `classes` on
// Logits and gradient are their strides apart. `loss_scale` keeps gradients of 16 bits from underflowing.
//
// One workgroup: LANES × ROWS invocations, LANES of them to a row. Three sweeps over a row, the last two from cache: maximum
// and S; sum of exp; loss and gradient. exp is computed twice: keeping it would take a matrix of its own.
// Workgroup memory: 4 · LANES · ROWS bytes. In front: result4, parts/lane_sum.wgsl, parts/lane_max.wgsl.

struct Parameters {
  rows: u32,
  classes: u32,
  /// vec4s of a row of the gradient.
  cols4: u32,
  logits_offset4: u32,
  logits_stride4: u32,
  partials_offset4: u32,
  gradient_offset4: u32,
  gradient_stride4: u32,
  label_share: f32,
  other_share: f32,
  loss_scale: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<vec4f>;
@group(0) @binding(1) var<storage, read> targets: array<vec2u>;
@group(0) @binding(2) var<storage, read> class_weights: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gradient: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LOWEST = -3.4e38;

/// Which columns of vec4 `i` are classes.
fn counts(i: u32) -> vec4<bool> {
  return vec4u(4 * i) + vec4u(0, 1, 2, 3) < vec4u(p.classes);
}

/// w · t of vec4 `i`, zero in the padding.
fn weighted_targets(i: u32, label: u32) -> vec4f {
  let own = vec4u(4 * i) + vec4u(0, 1, 2, 3) == vec4u(label);
  let shares = select(vec4f(p.other_share), vec4f(p.label_share), own);
  return select(vec4f(), class_weights[i] * shares, counts(i));
}

fn sum_of(x: vec4f) -> f32 {
  return (x.x + x.y) + (x.z + x.w);
}

@compute @workgroup_size(LANES, ROWS)
fn cross_entropy(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local.y;
  let start = p.logits_offset4 + min(row, p.rows - 1) * p.logits_stride4;
  let target_pair = targets[min(row, p.rows - 1)];
  let label = target_pair.x;
  let scale = bitcast<f32>(target_pair.y);
  let classes4 = (p.classes + 3) / 4;

  var highest = vec4f(LOWEST);
  var weights = vec4f();
  for (var i = local.x; i < classes4; i += LANES) {
    highest = max(highest, select(vec4f(LOWEST), logits[start + i], counts(i)));
    weights += weighted_targets(i, label);
  }
  let maximum = lane_max(max(max(highest.x, highest.y), max(highest.z, highest.w)), local.x, index);
  workgroupBarrier();
  let weight = lane_sum(sum_of(weights), local.x, index);
  workgroupBarrier();

  var exponentials = vec4f();
  for (var i = local.x; i < classes4; i += LANES) {
    exponentials += select(vec4f(), exp(logits[start + i] - maximum), counts(i));
  }
  let total = lane_sum(sum_of(exponentials), local.x, index);
  workgroupBarrier();
  // The largest logit's exp is 1, so that the logarithm is negative by its own rounding alone.
  let log_total = max(log(total), 0.0);
  let slope = p.loss_scale * scale;

  var loss = vec4f();
  if row < p.rows {
    let target_row = p.gradient_offset4 + row * p.gradient_stride4;
    for (var i = local.x; i < p.cols4; i += LANES) {
      var value = vec4f();
      if i < classes4 {
        let shifted = logits[start + i] - maximum;
        let aim = weighted_targets(i, label);
        loss += select(vec4f(), aim * (log_total - shifted), counts(i));
        value = select(vec4f(), slope * (weight * (exp(shifted) / total) - aim), counts(i));
      }
      gradient[target_row + i] = to_result(value);
    }
  }
  let whole = lane_sum(sum_of(loss), local.x, index);
  if local.x == 0 && row < p.rows {
    partials[p.partials_offset4 + row] = vec4f(scale * whole, 0.0, 0.0, 0.0);
  }
}
