// Weighted mean and sums of squared distances from it of three channels, merged as in Chan, Golub and LeVeque, "Algorithms for computing the
// sample variance" (1983): nothing cancels, and equal values leave exactly 0. The order is fixed.
//
// A workgroup is LANES invocations, a power of two. Workgroup memory: 48 · LANES bytes.

override LANES: u32 = 64;

struct Moments {
  weight: f32,
  mean: vec3f,
  /// Σ w·xx, yy, zz, and Σ w·xy, xz, yz, around the mean.
  squares: vec3f,
  products: vec3f,
}

fn merged(a: Moments, b: Moments) -> Moments {
  let weight = a.weight + b.weight;
  if weight == 0.0 {
    return a;
  }
  let apart = b.mean - a.mean;
  let share = b.weight / weight;
  let joint = a.weight * share;
  return Moments(
    weight,
    a.mean + apart * share,
    a.squares + b.squares + joint * apart * apart,
    a.products + b.products + joint * apart.xxy * apart.yzz,
  );
}

/// Three vectors, as they lie in buffers.
fn moments_of(a: vec4f, b: vec4f, c: vec4f) -> Moments {
  return Moments(a.w, a.xyz, b.xyz, c.xyz);
}

var<workgroup> lane_moments: array<vec4f, 3 * LANES>;

fn of_lane(lane: u32) -> Moments {
  return moments_of(lane_moments[3 * lane], lane_moments[3 * lane + 1], lane_moments[3 * lane + 2]);
}

fn to_lane(lane: u32, m: Moments) {
  lane_moments[3 * lane] = vec4f(m.mean, m.weight);
  lane_moments[3 * lane + 1] = vec4f(m.squares, 0.0);
  lane_moments[3 * lane + 2] = vec4f(m.products, 0.0);
}

/// What all lanes have, for the first of them. Every invocation of the workgroup must call it, once.
fn all_lanes(own: Moments, lane: u32) -> Moments {
  to_lane(lane, own);
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if lane < half {
      to_lane(lane, merged(of_lane(lane), of_lane(lane + half)));
    }
    workgroupBarrier();
  }
  return of_lane(0);
}
