// Percentiles of stains by radix selection, counting: how many pixels of a chunk have which 8 bits of their 24-bit key, of those that agree with a target
// in the bits above. Counts are whole, so neither order nor neighbours show in them.
//
//   STEP 0, of tissue:     key = (pseudo-angle + 2) · 2^22, the pseudo-angle growing with atan2 from -2 to 2: atan2 of WGSL is too inexact
//   STEP 1, of all pixels: keys of both concentrations, one for two targets, counted in parts of the most that is possible
//
// content, images, chunks: parts/restyled_images.wgsl; tables: parts/colour_spaces.wgsl, SPACE being MACENKO
// statistics, targets: kernels/stain_fit.wgsl
// counts [6, slots, 4, 256] u32, first zero; this adds to those of its STEP and pass
// One workgroup: one chunk. Workgroup memory: 4 KiB. Generated in front: CHANNELS, parts/tissue, colour_spaces, restyled_images.

override STEP: u32 = 0;
override LANES: u32 = 64;

struct Parameters {
  chunk_count: u32,
  slots: u32,
  /// 0, 1, 2: from the highest bits down.
  bits: u32,
  darkest: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> chunks: array<vec2u>;
@group(0) @binding(3) var<storage, read> tables: array<vec4f>;
@group(0) @binding(4) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(5) var<storage, read> targets: array<vec4u>;
@group(0) @binding(6) var<storage, read_write> counts: array<atomic<u32>>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> bins: array<atomic<u32>, 1024>;

fn pseudo_angle(y: f32, x: f32) -> f32 {
  let share = abs(y) / max(abs(x) + abs(y), 1e-30);
  let turned = select(share, 2.0 - share, x < 0.0);
  return select(turned, -turned, y < 0.0);
}

@compute @workgroup_size(LANES)
fn stain_counts(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let chunk = chunk_of(group, groups);
  if chunk >= p.chunk_count {
    return;
  }
  let slot = chunks[chunk].x;
  if slot == 0xffffffffu {
    return;
  }
  if statistics[8 * slot + 6].w == 0.0 {
    return;
  }
  for (var bin = lane; bin < 1024; bin += LANES) {
    atomicStore(&bins[bin], 0);
  }
  workgroupBarrier();
  let image = image_of(images[3 * slot], images[3 * slot + 1], images[3 * slot + 2]);
  let a = statistics[8 * slot + 4];
  let b = statistics[8 * slot + 5];
  let row_h = statistics[8 * slot + 6].xyz;
  let row_e = statistics[8 * slot + 7].xyz;
  let shift = 16 - 8 * p.bits;
  var above = vec4u();
  if p.bits > 0 {
    for (var k = 0u; k < 4; k++) {
      above[k] = targets[4 * slot + k].x;
    }
  }
  let first = chunks[chunk].y;
  for (var at = first + lane; at < min(first + CHUNK, image.pixels); at += LANES) {
    let level = levels(image.content, at);
    let density = forth(level);
    var keys = vec4f();
    if STEP == 0 {
      if !all(level <= vec3u(p.darkest)) {
        continue;
      }
      keys = vec4f((pseudo_angle(dot(density, b.xyz), dot(density, a.xyz)) + 2.0) * 4194304.0);
    } else {
      keys = vec2f(dot(density, row_h) * a.w, dot(density, row_e) * b.w).xxyy;
    }
    let key = vec4u(clamp(keys + 0.5, vec4f(), vec4f(16777215.0)));
    for (var k = 0u; k < 4; k++) {
      if ((key[k] >> shift) >> 8) == above[k] {
        atomicAdd(&bins[256 * k + ((key[k] >> shift) & 255)], 1);
      }
    }
  }
  workgroupBarrier();
  let base = ((3 * STEP + p.bits) * p.slots + slot) * 1024;
  for (var bin = lane; bin < 1024; bin += LANES) {
    let count = atomicLoad(&bins[bin]);
    if count > 0 {
      atomicAdd(&counts[base + bin], count);
    }
  }
}
