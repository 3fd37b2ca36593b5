// LayerNorm, backward, without scale and shift (Ba, Kiros, Hinton 2016), eps 1e-6, population variance.
//
//   gradient[m, i] (+)= (d[m, i] - mean(d) - x̂[m, i] · mean(d · x̂)) / s        x̂ = (x - mean(x)) / s, s = sqrt(variance(x) + eps)
//
// x [rows, width] f32, the residual stream as the forward pass saw it, zero in the padding up to the next vec4;
// d [rows, width] elem, dL/dx̂, whose padding does not count; gradient [rows, width] f32, dL/dx. Rows are their strides
// apart. `accumulate` adds to the gradient, whose padding is zero already; otherwise what lies behind `width` in a row of
// the gradient is written as zero.
// Statistics are recomputed, in two passes: they cost less than keeping x̂ of every layer.
//
// One workgroup: LANES × ROWS invocations, LANES of them to a row; sums meet in workgroup memory, two at a time: those of
// x and d in the first sweep, of (x - mean)² and d · (x - mean) in the second.
// Workgroup memory: 8 · LANES · ROWS bytes. Three sweeps over a row, the last two from cache.
// Generated in front: elem4.

override LANES: u32 = 32;
override ROWS: u32 = 4;

struct Parameters {
  rows: u32,
  width: u32,
  input_offset4: u32,
  input_stride4: u32,
  upstream_offset4: u32,
  upstream_stride4: u32,
  gradient_offset4: u32,
  gradient_stride4: u32,
  accumulate: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read> upstream: array<elem4>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> first_sums: array<f32, LANES * ROWS>;
var<workgroup> second_sums: array<f32, LANES * ROWS>;

/// Means of two values over a row, from its lanes' sums; every invocation of the workgroup must call it.
fn row_means(first: vec4f, second: vec4f, index: u32, lane: u32) -> vec2f {
  first_sums[index] = first.x + first.y + first.z + first.w;
  second_sums[index] = second.x + second.y + second.z + second.w;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if lane < half {
      first_sums[index] += first_sums[index + half];
      second_sums[index] += second_sums[index + half];
    }
    workgroupBarrier();
  }
  let sums = vec2f(first_sums[index - lane], second_sums[index - lane]);
  workgroupBarrier();
  return sums / f32(p.width);
}

/// `value` in the columns of vec4 `i` that count, zero in the padding.
fn inside(value: vec4f, i: u32) -> vec4f {
  return select(vec4f(), value, vec4u(4 * i) + vec4u(0, 1, 2, 3) < vec4u(p.width));
}

@compute @workgroup_size(LANES, ROWS)
fn differentiate_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let row = (group.y * groups.x + group.x) * ROWS + local.y;
  let x_row = p.input_offset4 + min(row, p.rows - 1) * p.input_stride4;
  let d_row = p.upstream_offset4 + min(row, p.rows - 1) * p.upstream_stride4;
  let width4 = (p.width + 3) / 4;

  var x_sum = vec4f();
  var d_sum = vec4f();
  for (var i = local.x; i < width4; i += LANES) {
    x_sum += input[x_row + i];
    d_sum += inside(widen(upstream[d_row + i]), i);
  }
  let means = row_means(x_sum, d_sum, index, local.x);

  var squares = vec4f();
  var products = vec4f();
  for (var i = local.x; i < width4; i += LANES) {
    let centred = inside(input[x_row + i] - means.x, i);
    squares += centred * centred;
    products += inside(widen(upstream[d_row + i]), i) * centred;
  }
  let moments = row_means(squares, products, index, local.x);
  let scale = 1.0 / sqrt(moments.x + 1e-6);
  // x̂ · mean(d · x̂) = (x - mean) · mean(d · (x - mean)) / s²
  let slope = moments.y * scale * scale;

  if row < p.rows {
    let target_row = p.gradient_offset4 + row * p.gradient_stride4;
    for (var i = local.x; i < width4; i += LANES) {
      var value = inside((widen(upstream[d_row + i]) - means.y - (input[x_row + i] - means.x) * slope) * scale, i);
      if p.accumulate != 0 {
        value += gradient[target_row + i];
      }
      gradient[target_row + i] = value;
    }
    if p.accumulate == 0 {
      for (var i = width4 + local.x; i < p.gradient_stride4; i += LANES) {
        gradient[target_row + i] = vec4f();
      }
    }
  }
}
