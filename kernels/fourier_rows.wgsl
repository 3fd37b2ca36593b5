// Partial Fourier sums, first of two kernels: along every row of an image.
//
//   R[y, kx] = Σ_x (I[y, x] - mean) · e^(-2πi kx x / w)      0 <= kx <= band
//
// Without the mean a flat image has exactly 0 everywhere; kernels/fourier_swap.wgsl adds it to (0, 0).
// content, images: parts/restyled_images.wgsl; statistics: kernels/colour_statistics.wgsl, in RGB; twiddles: parts/fourier.wgsl
// rows [all] two vec4f each, an image's from its own first on: [height, band + 1]
// One invocation: one coefficient; z counts images. Workgroup memory: none. Generated in front: CHANNELS, parts/tissue, restyled_images, fourier.

struct Parameters {
  padding0: u32,
  padding1: u32,
  padding2: u32,
  padding3: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> images: array<vec4u>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(3) var<storage, read> twiddles: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> rows: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn fourier_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let image = image_of(images[3 * id.z], images[3 * id.z + 1], images[3 * id.z + 2]);
  let at = id.y * groups.x * 64 + id.x;
  if at >= image.height * (image.band + 1) {
    return;
  }
  let y = at / (image.band + 1);
  let k = at % (image.band + 1);
  let mean = statistics[8 * id.z].xyz;
  var re = vec3f();
  var im = vec3f();
  var phase = 0u;
  for (var x = 0u; x < image.width; x++) {
    let value = pixel(image.content, y * image.width + x) - mean;
    let turn = twiddles[image.twiddles + phase];
    re += value * turn.x;
    im -= value * turn.y;
    phase += k;
    if phase >= image.width {
      phase -= image.width;
    }
  }
  rows[2 * (image.rows + at)] = vec4f(re, 0.0);
  rows[2 * (image.rows + at) + 1] = vec4f(im, 0.0);
}
