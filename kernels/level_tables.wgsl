// Where each level of each channel goes.
//
//   METHOD 0  Colorist (Doerrich et al., arXiv 2608.18915): x' = (x - μ) · σ_t / (σ + 1e-8) + μ_t in [0, 1]. Sums go around the whole level that is nearest
//             to the mean, so that they are right by σ and not by 1 only, and a flat channel goes to μ_t.
//   METHOD 1  histogram matching: the style's levels that occur, interpolated at the content's cumulative share; blend · that + (1 - blend) · x. Shares
//             are compared as products of whole numbers in 64 bits: a rounded one may lie on the other side of a step.
//
// counts: kernels/level_counts.wgsl, of contents in the first slots; jobs: parts/restyle_jobs.wgsl; numbers asked for: 0: μ_t, σ_t; 1: the blend
// table [images, 3, 256] f32 in [0, 1], not clamped; numbers [images, 3] vec4f: μ, σ, μ_t, σ_t; of METHOD 1 zeros
// One workgroup: one channel of one image, one invocation a level.
// Workgroup memory: 2 KiB. Generated in front: parts/restyle_jobs.

override METHOD: u32 = 0;

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read> jobs: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> numbers: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> sums: array<vec2u, 256>;

/// Of a histogram, in levels: what is nearest to the mean, the mean's distance from it, the deviation. Every lane goes over all counts by itself: a
/// tree would have a dozen barriers, and a barrier of 256 lanes costs a CPU more than these loops.
fn moments_of(style: u32) -> vec3f {
  var total = 0.0;
  var first = 0.0;
  for (var level = 0u; level < 256; level++) {
    let amount = f32(sums[level][style]);
    total += amount;
    first += amount * f32(level);
  }
  total = max(total, 1.0);
  let middle = floor(first / total + 0.5);
  var rest = 0.0;
  for (var level = 0u; level < 256; level++) {
    rest += f32(sums[level][style]) * (f32(level) - middle);
  }
  rest /= total;
  var squares = 0.0;
  for (var level = 0u; level < 256; level++) {
    let apart = f32(level) - middle - rest;
    squares += f32(sums[level][style]) * apart * apart;
  }
  return vec3f(middle, rest, sqrt(squares / total));
}

/// A product in 64 bits: low word, high word.
fn product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffff) * (b & 0xffff);
  let one = (a >> 16) * (b & 0xffff);
  let other = (a & 0xffff) * (b >> 16);
  let middle = (low >> 16) + (one & 0xffff) + (other & 0xffff);
  return vec2u((middle << 16) | (low & 0xffff), (a >> 16) * (b >> 16) + (one >> 16) + (other >> 16) + (middle >> 16));
}

fn less(a: vec2u, b: vec2u) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

/// a - b, where b is not larger.
fn difference(a: vec2u, b: vec2u) -> f32 {
  let borrow = select(0u, 1u, a.x < b.x);
  return f32(a.y - b.y - borrow) * 4294967296.0 + f32(a.x - b.x);
}

/// The style's level at the content's cumulative share of `lane`.
fn matching(lane: u32) -> f32 {
  let here = sums[lane].x;
  let all_here = sums[255].x;
  let all_there = sums[255].y;
  let share = product(here, all_there);
  var last = 256u;
  var before = 0u;
  for (var level = 0u; level < 256; level++) {
    let there = sums[level].y;
    if there == before {
      continue;
    }
    let reached = product(there, all_here);
    if !less(reached, share) {
      if last == 256 {
        return f32(level);
      }
      let from_last = difference(share, product(before, all_here));
      return f32(last) + f32(level - last) * from_last / difference(reached, product(before, all_here));
    }
    last = level;
    before = there;
  }
  return f32(lane);
}

@compute @workgroup_size(256)
fn level_tables(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let channel = group.x;
  let image = group.y;
  if image >= p.images_count {
    return;
  }
  let head = jobs[8 * image];
  let own = counts[768 * image + 256 * channel + lane];
  var others = 0u;
  if head.x >= 0.0 {
    others = counts[768 * u32(head.x) + 256 * channel + lane];
  }
  sums[lane] = vec2u(own, others);
  workgroupBarrier();
  var value = 0.0;
  var found = vec4f();
  if METHOD == 0 {
    let here = moments_of(0);
    let style = moments_of(1);
    var there = vec2f(style.x + style.y, style.z) / 255.0;
    if first_given(head.y) {
      there.x = jobs[8 * image + 1][channel];
    }
    if second_given(head.y) {
      there.y = jobs[8 * image + 2][channel];
    }
    let deviation = here.z / 255.0;
    value = there.x;
    if deviation > 0.0 {
      value += ((f32(lane) - here.x) - here.y) / 255.0 * there.y / (deviation + 1e-8);
    }
    found = vec4f((here.x + here.y) / 255.0, deviation, there);
  } else {
    var sum = vec2u();
    for (var level = 0u; level <= lane; level++) {
      sum += sums[level];
    }
    workgroupBarrier();
    sums[lane] = sum;
    workgroupBarrier();
    let blend = jobs[8 * image + 1].x;
    value = (blend * matching(lane) + (1.0 - blend) * f32(lane)) / 255.0;
  }
  table[768 * image + 256 * channel + lane] = value;
  if lane == 0 {
    numbers[3 * image + channel] = found;
  }
}
