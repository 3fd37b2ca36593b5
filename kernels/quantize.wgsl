// Denormalisation and quantisation: normalised planes to pixels, clamped to [0, 1], rounded to 8 bits or kept as f32.
//
//   pixel[b, y, x, c] = clamp(image[b, c, y, x] · deviation[c] + mean[c], 0, 1)
//
// The clamp comes before rounding: without it dark and bright values wrap around as neon speckles.
// image [B, C, S, S] f32. BYTES: pixels [B, S, S, C], four to a word; otherwise the same order in f32.
// One invocation writes one word. Workgroup memory: none.

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  padding0: u32,
  mean: vec4f,
  deviation: vec4f,
}

@group(0) @binding(0) var<storage, read> image: array<f32>;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

override BYTES: bool = true;

/// Value at index `at` of the [B, S, S, C] order, in [0, 1].
fn value(at: u32) -> f32 {
  let plane = p.image_size * p.image_size;
  let c = at % p.channels;
  let position = (at / p.channels) % plane;
  let b = at / (p.channels * plane);
  return clamp(image[(b * p.channels + c) * plane + position] * p.deviation[c] + p.mean[c], 0.0, 1.0);
}

@compute @workgroup_size(64)
fn quantize(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let count = p.images * p.channels * p.image_size * p.image_size;
  let word = id.y * groups.x * 64 + id.x;
  if BYTES {
    if 4 * word >= count {
      return;
    }
    var packed = 0u;
    for (var lane = 0u; lane < 4; lane++) {
      if 4 * word + lane < count {
        packed |= u32(floor(value(4 * word + lane) * 255.0 + 0.5)) << (8 * lane);
      }
    }
    pixels[word] = packed;
  } else {
    if word >= count {
      return;
    }
    pixels[word] = bitcast<u32>(value(word));
  }
}
