// Levels by a table a channel: result = round(255 · mix(content, clamp(table[level], 0, 1), strength · share)).
//
// share: kernels/recolour.wgsl. content, images: parts/restyled_images.wgsl; table: kernels/level_tables.wgsl; jobs: parts/restyle_jobs.wgsl
// result: packed pixels, see parts/four_pixels.wgsl. One invocation writes four pixels of a row, which are whole words; z counts images.
// Workgroup memory: none. Generated in front: CHANNELS, parts/tissue, restyled_images, four_pixels.

struct Parameters {
  padding0: u32,
  padding1: u32,
  padding2: u32,
  padding3: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> jobs: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> result: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn relevel(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let image = image_of(images[3 * id.z], images[3 * id.z + 1], images[3 * id.z + 2]);
  let four = four_at(image, id, groups);
  if !four.inside {
    return;
  }
  let head = jobs[8 * id.z];
  let weights = head.z * shares(image, four);
  var values = array<vec3u, 4>();
  for (var lane = 0u; lane < 4; lane++) {
    let x = four.x + lane;
    if x >= image.width {
      break;
    }
    let level = levels(image.content, four.y * image.width + x);
    values[lane] = level;
    if head.w > 0.0 {
      let first = 768 * id.z;
      let there = vec3f(table[first + level.x], table[first + 256 + level.y], table[first + 512 + level.z]);
      values[lane] = rounded(vec3f(level) / 255.0, there, weights[lane]);
    }
  }
  write_four(four.word, values);
}
