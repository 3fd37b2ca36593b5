// Partial Fourier sums, second of two kernels: along columns.
//
//   F[ky, kx] = Σ_y R[y, kx] · e^(-2πi ky y / h)      -band <= ky <= band, 0 <= kx <= band
//
// images: parts/restyled_images.wgsl; rows: kernels/fourier_rows.wgsl; twiddles: parts/fourier.wgsl
// coefficients [all] two vec4f each, an image's from its own first on: [2 · band + 1, band + 1]
// One invocation: one coefficient; z counts images. Workgroup memory: none. Generated in front: parts/restyled_images, fourier.

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> images: array<vec4u>;
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;
@group(0) @binding(2) var<storage, read> twiddles: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> coefficients: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn fourier_columns(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  if id.z >= p.images_count {
    return;
  }
  let image = image_of(images[3 * id.z], images[3 * id.z + 1], images[3 * id.z + 2]);
  let across = image.band + 1;
  let at = id.y * groups.x * 64 + id.x;
  if image.pixels == 0 || at >= (2 * image.band + 1) * across {
    return;
  }
  let step = wrapped(at / across, image.band, image.height);
  var sum = Coefficient();
  var phase = 0u;
  for (var y = 0u; y < image.height; y++) {
    let row = 2 * (image.rows + y * across + at % across);
    let turn = twiddles[image.twiddles + image.width + phase];
    let part = turned(Coefficient(rows[row].xyz, rows[row + 1].xyz), vec2f(turn.x, -turn.y));
    sum.re += part.re;
    sum.im += part.im;
    phase += step;
    if phase >= image.height {
      phase -= image.height;
    }
  }
  coefficients[2 * (image.coefficients + at)] = vec4f(sum.re, 0.0);
  coefficients[2 * (image.coefficients + at) + 1] = vec4f(sum.im, 0.0);
}
