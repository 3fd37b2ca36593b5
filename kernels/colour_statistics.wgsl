// Mean and covariance of colours, second of two kernels: the chunks of every image become its statistics.
//
// sums [chunks] three vec4f each, as kernels/colour_moments.wgsl writes them
// statistics [slots] eight vec4f each, of which this writes four:
//   mean, and the sum of weights; population deviation, and the mean weight; Σ w·xx, yy, zz, and the number of pixels; Σ w·xy, xz, yz, and 0
//   of an image without weight all but the numbers of pixels is 0
// One workgroup: one image. Workgroup memory: 48 · LANES bytes. Generated in front: parts/restyled_images, moments.

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<vec4f>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> statistics: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES)
fn colour_statistics(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let slot = chunk_of(group, groups);
  if slot >= p.images_count {
    return;
  }
  let image = image_of(images[3 * slot], images[3 * slot + 1], images[3 * slot + 2]);
  if image.pixels == 0 {
    return;
  }
  var own = Moments();
  for (var chunk = image.first_chunk + lane; chunk < image.first_chunk + image.chunks; chunk += LANES) {
    own = merged(own, moments_of(sums[3 * chunk], sums[3 * chunk + 1], sums[3 * chunk + 2]));
  }
  let all = all_lanes(own, lane);
  if lane == 0 {
    let pixels = f32(image.pixels);
    let variance = select(vec3f(), all.squares / max(all.weight, 1e-30), all.weight > 0.0);
    statistics[8 * slot] = vec4f(all.mean, all.weight);
    statistics[8 * slot + 1] = vec4f(sqrt(variance), all.weight / pixels);
    statistics[8 * slot + 2] = vec4f(all.squares, pixels);
    statistics[8 * slot + 3] = vec4f(all.products, 0.0);
  }
}
