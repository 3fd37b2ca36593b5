// Histograms of levels, by channel. Counts are whole, so neither order nor neighbours show in them.
//
// content, images, chunks: parts/restyled_images.wgsl
// counts [slots, 3, 256] u32, first zero; grey counts as three equal channels
// One workgroup: one chunk. Workgroup memory: 3 KiB. Generated in front: CHANNELS, parts/tissue, restyled_images.

override LANES: u32 = 64;

struct Parameters {
  chunk_count: u32,
  padding0: u32,
  padding1: u32,
  padding2: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> chunks: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> bins: array<atomic<u32>, 768>;

@compute @workgroup_size(LANES)
fn level_counts(
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
  for (var bin = lane; bin < 768; bin += LANES) {
    atomicStore(&bins[bin], 0);
  }
  workgroupBarrier();
  let image = image_of(images[3 * place.x], images[3 * place.x + 1], images[3 * place.x + 2]);
  for (var at = place.y + lane; at < min(place.y + CHUNK, image.pixels); at += LANES) {
    let level = levels(image.content, at);
    atomicAdd(&bins[level.x], 1);
    atomicAdd(&bins[256 + level.y], 1);
    atomicAdd(&bins[512 + level.z], 1);
  }
  workgroupBarrier();
  for (var bin = lane; bin < 768; bin += LANES) {
    let count = atomicLoad(&bins[bin]);
    if count > 0 {
      atomicAdd(&counts[768 * place.x + bin], count);
    }
  }
}
