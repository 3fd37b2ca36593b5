// Normalisation of pixels: bytes to the planes that the losses and the convolutional features are computed of.
//
//   planes[b, c, y, x] = (pixels[b, y, x, c] / 255 - mean[c]) / deviation[c]
//
// pixels [images, S, S, C] 8-bit, packed four to a word across pixels and images, from image `first_image` on
// planes [images, C, S, S] f32, from `planes_offset` on
// One invocation writes one value: the writes of neighbours are contiguous, the bytes that they read are C apart and cached.
// Workgroup memory: none. Generated in front: nothing that is used.

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  first_image: u32,
  planes_offset: u32,
  padding0: u32,
  padding1: u32,
  padding2: u32,
  mean: vec4f,
  deviation: vec4f,
}

@group(0) @binding(0) var<storage, read> pixels: array<u32>;
@group(0) @binding(1) var<storage, read_write> planes: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn normalize_pixels(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let area = p.image_size * p.image_size;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * p.channels * area {
    return;
  }
  let c = (at / area) % p.channels;
  let image = p.first_image + at / (area * p.channels);
  let byte = (image * area + at % area) * p.channels + c;
  let value = f32(extractBits(pixels[byte / 4], 8 * (byte % 4), 8)) / 255.0;
  planes[p.planes_offset + at] = (value - p.mean[c]) / p.deviation[c];
}
