// Mean and covariance of colours, first of two kernels: of every chunk of an image, in the colour space SPACE.
//
//   W = Σ w,  mean = Σ w x / W,  Σ w (x - mean)(x - mean)ᵀ
//
// WEIGHT 0: w is 1; 1: the soft tissue weight of the pixel; 2: whether all three levels are at most `darkest`, as Macenko's tissue is found.
//
// content, images, chunks: parts/restyled_images.wgsl; tables: parts/colour_spaces.wgsl
// sums [chunks] three vec4f each: mean and W; sums of squares; sums of products xy, xz, yz
// One workgroup: one chunk. Each invocation goes over its pixels as Welford (1962) has it; their results meet in a tree.
// Workgroup memory: 48 · LANES bytes. Generated in front: CHANNELS, parts/tissue, colour_spaces, restyled_images, moments.

override WEIGHT: u32 = 0;

struct Parameters {
  chunk_count: u32,
  darkest: u32,
  padding0: u32,
  padding1: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> chunks: array<vec2u>;
@group(0) @binding(3) var<storage, read> tables: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn weight_of(level: vec3u) -> f32 {
  if WEIGHT == 1 {
    return stained(level);
  }
  if WEIGHT == 2 {
    return f32(all(level <= vec3u(p.darkest)));
  }
  return 1.0;
}

@compute @workgroup_size(LANES)
fn colour_moments(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let chunk = chunk_of(group, groups);
  if chunk >= p.chunk_count {
    return;
  }
  let place = chunks[chunk];
  if place.x == 0xffffffffu {
    return;
  }
  let image = image_of(images[3 * place.x], images[3 * place.x + 1], images[3 * place.x + 2]);
  var own = Moments();
  for (var at = place.y + lane; at < min(place.y + CHUNK, image.pixels); at += LANES) {
    let level = levels(image.content, at);
    let weight = weight_of(level);
    if weight > 0.0 {
      let apart = forth(level) - own.mean;
      own.weight += weight;
      own.mean += apart * (weight / own.weight);
      let rest = weight * (1.0 - weight / own.weight) * apart;
      own.squares += rest * apart;
      own.products += rest.xxy * apart.yzz;
    }
  }
  let all = all_lanes(own, lane);
  if lane == 0 {
    sums[3 * chunk] = vec4f(all.mean, all.weight);
    sums[3 * chunk + 1] = vec4f(all.squares, 0.0);
    sums[3 * chunk + 2] = vec4f(all.products, 0.0);
  }
}
