// Fourier domain adaptation (Yang and Soatto, CVPR 2020): what the low frequencies change by where they take the style's amplitude and keep their phase.
//
//   change = F_s · |F_t| / |F_s| - F_s, and 0 where |F_s| <= 1e-6 · h · w: the phase of that is noise
//
// images: parts/restyled_images.wgsl; jobs: parts/restyle_jobs.wgsl, whose styles have their images' size
// statistics: kernels/colour_statistics.wgsl, in RGB: the means are added to (0, 0); coefficients: kernels/fourier_columns.wgsl
// changes: as coefficients. One invocation: one coefficient; z counts images. Workgroup memory: none. Generated in front: parts/restyled_images, fourier.

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> images: array<vec4u>;
@group(0) @binding(1) var<storage, read> jobs: array<vec4f>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(3) var<storage, read> coefficients: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> changes: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn fourier_swap(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  if id.z >= p.images_count {
    return;
  }
  let image = image_of(images[3 * id.z], images[3 * id.z + 1], images[3 * id.z + 2]);
  let across = image.band + 1;
  let at = id.y * groups.x * 64 + id.x;
  if image.pixels == 0 || at >= (2 * image.band + 1) * across {
    return;
  }
  let style = u32(jobs[8 * id.z].x);
  let own = 2 * (image.coefficients + at);
  let others = 2 * (images[3 * style + 2].y + at);
  var re = coefficients[own].xyz;
  let im = coefficients[own + 1].xyz;
  var style_re = coefficients[others].xyz;
  let style_im = coefficients[others + 1].xyz;
  let count = f32(image.pixels);
  if at == image.band * across {
    re += count * statistics[8 * id.z].xyz;
    style_re += count * statistics[8 * style].xyz;
  }
  let amplitude = sqrt(re * re + im * im);
  let gain = sqrt(style_re * style_re + style_im * style_im) / max(amplitude, vec3f(1e-6 * count)) - 1.0;
  let strong = vec3f(amplitude > vec3f(1e-6 * count));
  changes[own] = vec4f(strong * gain * re, 0.0);
  changes[own + 1] = vec4f(strong * gain * im, 0.0);
}
