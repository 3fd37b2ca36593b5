// Colours by an affine map in a colour space: every method of stains and of moments ends here.
//
//   x = space(content)    y = A x + b + w (C x + d)    result = round(255 · mix(content, clamp(rgb(y), 0, 1), strength · share))
//
// CHANGE 0: there is no C, d; 1: w is 1; 2: w is the soft tissue weight of the pixel. share is 1, or with BACKGROUND the tissue weight of the
// content's clipped 5 × 5 mean. An image that declines stays as it is.
//
// content, images: parts/restyled_images.wgsl; tables, SPACE: parts/colour_spaces.wgsl; jobs: parts/restyle_jobs.wgsl
// result: packed pixels, see parts/four_pixels.wgsl. One invocation writes four pixels of a row, which are whole words; z counts images.
// Workgroup memory: none. Generated in front: CHANNELS, parts/tissue, colour_spaces, restyled_images, four_pixels.

override CHANGE: u32 = 0;

struct Parameters {
  padding0: u32,
  padding1: u32,
  padding2: u32,
  padding3: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> tables: array<vec4f>;
@group(0) @binding(3) var<storage, read> jobs: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> result: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn mapped(job: u32, level: vec3u) -> vec3f {
  let x = vec4f(forth(level), 1.0);
  var y = vec3f(dot(jobs[job + 1], x), dot(jobs[job + 2], x), dot(jobs[job + 3], x));
  if CHANGE > 0 {
    let change = vec3f(dot(jobs[job + 4], x), dot(jobs[job + 5], x), dot(jobs[job + 6], x));
    y += select(1.0, stained(level), CHANGE == 2) * change;
  }
  return back(y);
}

@compute @workgroup_size(64)
fn recolour(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
      values[lane] = rounded(vec3f(level) / 255.0, mapped(8 * id.z, level), weights[lane]);
    }
  }
  write_four(four.word, values);
}
