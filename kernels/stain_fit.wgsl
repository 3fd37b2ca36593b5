// Stains of Macenko et al. 2009, the steps of one image between those over pixels; three entry points, in this order:
//
//   stain_plane   covariance of tissue → eigenvectors 2 and 3 (ascending), by Jacobi rotations, each turned so that the mean of tissue is not
//                 behind it. Declines: tissue below 1 % of the pixels, or of 3.
//   stain_stains  percentiles 1 and 99 of the angle φ = atan2(on the 3rd, on the 2nd) → v = cos φ · e₂ + sin φ · e₃; that with more red is
//                 hematoxylin. Declines: |v₁ × v₂| < .05. Then the rows of the pseudo-inverse by the cross product c = H × E, in which nothing
//                 cancels: (E × c) / c², (c × H) / c².
//   stain_most    percentiles 99 of both concentrations. Declines: one below .01.
//
// WGSL lets cos and sin be wrong by 2^-11 and atan2 by 4096 units in the last place: own ones are used, of Cephes.
//
// statistics [slots] eight vec4f each; the first four are those of densities of tissue, by kernels/colour_statistics.wgsl. The others:
//   e₂ or H, of H also most or, before it is known, keys a unit; e₃ or E, likewise; row of H in the pseudo-inverse, and whether there are stains
//   (1 or 0); row of E, and 0
// targets [slots, 4] vec4u: key, 0, 0, and the share of the next order statistic as the bits of an f32; two for each percentile, see
//   kernels/stain_select.wgsl
// One invocation: one image. Workgroup memory: none.

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> targets: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> statistics: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LEAST_TISSUE = 0.01;
const LEAST_SINE = 0.05;
const LEAST_MOST = 0.01;
/// Densities of levels 0 and 255.
const DARKEST = 5.480639;
const BRIGHTEST = -0.0645386;
const KEYS = 16777215.0;
const HALF_PI = 1.5707963267948966;
const PI = 3.141592653589793;

/// One Jacobi rotation of a symmetric matrix `a` (columns), which makes its entry (i, j) 0; `v` collects the rotations.
fn rotate(a: ptr<function, array<vec3f, 3>>, v: ptr<function, array<vec3f, 3>>, i: u32, j: u32) {
  let off = (*a)[i][j];
  if abs(off) < 1e-30 {
    return;
  }
  let theta = ((*a)[j][j] - (*a)[i][i]) / (2.0 * off);
  let t = select(-1.0, 1.0, theta >= 0.0) / (abs(theta) + sqrt(theta * theta + 1.0));
  let c = 1.0 / sqrt(t * t + 1.0);
  let s = t * c;
  let k = 3 - i - j;
  let ki = (*a)[k][i];
  let kj = (*a)[k][j];
  (*a)[i][i] -= t * off;
  (*a)[j][j] += t * off;
  (*a)[i][j] = 0.0;
  (*a)[j][i] = 0.0;
  (*a)[k][i] = c * ki - s * kj;
  (*a)[i][k] = (*a)[k][i];
  (*a)[k][j] = s * ki + c * kj;
  (*a)[j][k] = (*a)[k][j];
  let vi = (*v)[i];
  let vj = (*v)[j];
  (*v)[i] = c * vi - s * vj;
  (*v)[j] = s * vi + c * vj;
}

@compute @workgroup_size(64)
fn stain_plane(@builtin(global_invocation_id) id: vec3u) {
  let at = 8 * id.x;
  if id.x >= p.images_count {
    return;
  }
  let mean = statistics[at];
  let squares = statistics[at + 2];
  if mean.w < max(3.0, LEAST_TISSUE * squares.w) {
    statistics[at + 6] = vec4f();
    return;
  }
  let products = statistics[at + 3].xyz;
  let scale = 1.0 / max(squares.x + squares.y + squares.z, 1e-20);
  var a = array<vec3f, 3>(
    scale * vec3f(squares.x, products.x, products.y),
    scale * vec3f(products.x, squares.y, products.z),
    scale * vec3f(products.y, products.z, squares.z),
  );
  var v = array<vec3f, 3>(vec3f(1.0, 0.0, 0.0), vec3f(0.0, 1.0, 0.0), vec3f(0.0, 0.0, 1.0));
  for (var sweep = 0; sweep < 7; sweep++) {
    rotate(&a, &v, 0, 1);
    rotate(&a, &v, 0, 2);
    rotate(&a, &v, 1, 2);
  }
  var order = vec3u(0, 1, 2);
  if a[order.x][order.x] > a[order.y][order.y] {
    order = order.yxz;
  }
  if a[order.y][order.y] > a[order.z][order.z] {
    order = order.xzy;
  }
  if a[order.x][order.x] > a[order.y][order.y] {
    order = order.yxz;
  }
  let second = v[order.y];
  let third = v[order.z];
  statistics[at + 4] = vec4f(select(second, -second, dot(mean.xyz, second) < 0.0), 0.0);
  statistics[at + 5] = vec4f(select(third, -third, dot(mean.xyz, third) < 0.0), 0.0);
  statistics[at + 6] = vec4f(0.0, 0.0, 0.0, 1.0);
}

/// Arc tangent of a number in [0, 1] (Cephes, atanf).
fn arc_tangent(x: f32) -> f32 {
  let large = x > 0.41421356;
  let z = select(x, (x - 1.0) / (x + 1.0), large);
  let s = z * z;
  let series = (((8.05374449538e-2 * s - 1.38776856032e-1) * s + 1.99777106478e-1) * s - 3.33329491539e-1) * s * z + z;
  return select(series, series + 0.25 * PI, large);
}

/// The angle of a pseudo-angle in [-2, 2], see `pseudo_angle` of kernels/stain_counts.wgsl.
fn angle_of(pseudo: f32) -> f32 {
  let turned = abs(pseudo);
  let y = select(turned, 2.0 - turned, turned > 1.0);
  let x = abs(1.0 - turned);
  var angle = 0.0;
  if y <= x {
    angle = arc_tangent(y / x);
  } else {
    angle = HALF_PI - arc_tangent(x / y);
  }
  angle = select(angle, PI - angle, turned > 1.0);
  return select(angle, -angle, pseudo < 0.0);
}

/// Cosine and sine of an angle in [-π, π] (Cephes, cosf and sinf).
fn cosine_and_sine(angle: f32) -> vec2f {
  let quarters = floor(angle / HALF_PI + 0.5);
  let r = (angle - quarters * 1.5703125) - quarters * 0.000483826794896619;
  let s = r * r;
  let sine = ((-1.9515295891e-4 * s + 8.3321608736e-3) * s - 1.6666654611e-1) * s * r + r;
  let cosine = ((2.443315711809948e-5 * s - 1.388731625493765e-3) * s + 4.166664568298827e-2) * s * s - 0.5 * s + 1.0;
  switch i32(quarters) {
    case 1: {
      return vec2f(-sine, cosine);
    }
    case -1: {
      return vec2f(sine, -cosine);
    }
    case 2, -2: {
      return vec2f(-cosine, -sine);
    }
    default: {
      return vec2f(cosine, sine);
    }
  }
}

/// The angle of a percentile, between two order statistics.
fn angle_at(target_index: u32) -> f32 {
  let low = angle_of(f32(targets[target_index].x) / 4194304.0 - 2.0);
  let high = angle_of(f32(targets[target_index + 1].x) / 4194304.0 - 2.0);
  return low + bitcast<f32>(targets[target_index].w) * (high - low);
}

@compute @workgroup_size(64)
fn stain_stains(@builtin(global_invocation_id) id: vec3u) {
  let at = 8 * id.x;
  if id.x >= p.images_count || statistics[at + 6].w == 0.0 {
    return;
  }
  let second = statistics[at + 4].xyz;
  let third = statistics[at + 5].xyz;
  let low = cosine_and_sine(angle_at(4 * id.x));
  let high = cosine_and_sine(angle_at(4 * id.x + 2));
  var h = low.x * second + low.y * third;
  var e = high.x * second + high.y * third;
  if h.x <= e.x {
    let held = h;
    h = e;
    e = held;
  }
  let normal = cross(h, e);
  let sine2 = dot(normal, normal);
  if sine2 < LEAST_SINE * LEAST_SINE {
    statistics[at + 6] = vec4f();
    return;
  }
  let row_h = cross(e, normal) / sine2;
  let row_e = cross(normal, h) / sine2;
  statistics[at + 4] = vec4f(h, KEYS / most_possible(row_h));
  statistics[at + 5] = vec4f(e, KEYS / most_possible(row_e));
  statistics[at + 6] = vec4f(row_h, 1.0);
  statistics[at + 7] = vec4f(row_e, 0.0);
}

/// The largest concentration that a pixel can have.
fn most_possible(row: vec3f) -> f32 {
  return dot(max(row, vec3f()), vec3f(DARKEST)) + dot(min(row, vec3f()), vec3f(BRIGHTEST));
}

/// A concentration's percentile.
fn concentration_at(target_index: u32, keys: f32) -> f32 {
  let low = f32(targets[target_index].x);
  let high = f32(targets[target_index + 1].x);
  return (low + bitcast<f32>(targets[target_index].w) * (high - low)) / keys;
}

@compute @workgroup_size(64)
fn stain_most(@builtin(global_invocation_id) id: vec3u) {
  let at = 8 * id.x;
  if id.x >= p.images_count || statistics[at + 6].w == 0.0 {
    return;
  }
  let most_h = concentration_at(4 * id.x, statistics[at + 4].w);
  let most_e = concentration_at(4 * id.x + 2, statistics[at + 5].w);
  statistics[at + 4].w = most_h;
  statistics[at + 5].w = most_e;
  if min(most_h, most_e) < LEAST_MOST {
    statistics[at + 6].w = 0.0;
  }
}
