// Partial Fourier sums back to pixels, first of two kernels: along columns.
//
//   G[y, kx] = Σ_ky change[ky, kx] · e^(2πi ky y / h)
//
// images: parts/restyled_images.wgsl; changes: kernels/fourier_swap.wgsl; twiddles: parts/fourier.wgsl
// rows: as kernels/fourier_rows.wgsl has them
// One invocation: one of them; z counts images. Workgroup memory: none. Generated in front: parts/restyled_images, fourier.

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> images: array<vec4u>;
@group(0) @binding(1) var<storage, read> changes: array<vec4f>;
@group(0) @binding(2) var<storage, read> twiddles: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> rows: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn fourier_back(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  if id.z >= p.images_count {
    return;
  }
  let image = image_of(images[3 * id.z], images[3 * id.z + 1], images[3 * id.z + 2]);
  let across = image.band + 1;
  let at = id.y * groups.x * 64 + id.x;
  if at >= image.height * across {
    return;
  }
  let y = at / across;
  var sum = Coefficient();
  var phase = (y * wrapped(0, image.band, image.height)) % image.height;
  for (var k = 0u; k <= 2 * image.band; k++) {
    let from_change = 2 * (image.coefficients + k * across + at % across);
    let change = Coefficient(changes[from_change].xyz, changes[from_change + 1].xyz);
    let part = turned(change, twiddles[image.twiddles + image.width + phase]);
    sum.re += part.re;
    sum.im += part.im;
    phase += y;
    if phase >= image.height {
      phase -= image.height;
    }
  }
  rows[2 * (image.rows + at)] = vec4f(sum.re, 0.0);
  rows[2 * (image.rows + at) + 1] = vec4f(sum.im, 0.0);
}
