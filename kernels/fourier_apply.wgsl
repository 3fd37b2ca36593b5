// Partial Fourier sums back to pixels, second of two kernels: along rows, added to the content.
//
//   x' = x + 1 / (h w) · (Re G[y, 0] + 2 Σ_kx>0 Re(G[y, kx] · e^(2πi kx x / w)))      result = round(255 · mix(content, clamp(x', 0, 1), strength · share))
//
// share: kernels/recolour.wgsl. content, images: parts/restyled_images.wgsl; jobs: parts/restyle_jobs.wgsl; rows: kernels/fourier_back.wgsl
// twiddles: parts/fourier.wgsl. result: packed pixels, see parts/four_pixels.wgsl. One invocation writes four pixels of a row; z counts images.
// Workgroup memory: none. Generated in front: CHANNELS, parts/tissue, restyled_images, four_pixels, fourier.

struct Parameters {
  padding0: u32,
  padding1: u32,
  padding2: u32,
  padding3: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> jobs: array<vec4f>;
@group(0) @binding(3) var<storage, read> rows: array<vec4f>;
@group(0) @binding(4) var<storage, read> twiddles: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> result: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

/// Of pixel (x, y), times h · w.
fn change_at(image: Image, x: u32, y: u32) -> vec3f {
  let first = 2 * (image.rows + y * (image.band + 1));
  var sum = 0.5 * rows[first].xyz;
  var phase = 0u;
  for (var k = 1u; k <= image.band; k++) {
    phase += x;
    if phase >= image.width {
      phase -= image.width;
    }
    let turn = twiddles[image.twiddles + phase];
    sum += rows[first + 2 * k].xyz * turn.x - rows[first + 2 * k + 1].xyz * turn.y;
  }
  return 2.0 * sum;
}

@compute @workgroup_size(64)
fn fourier_apply(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
      let value = vec3f(level) / 255.0;
      values[lane] = rounded(value, value + change_at(image, x, four.y) / f32(image.pixels), weights[lane]);
    }
  }
  write_four(four.word, values);
}
