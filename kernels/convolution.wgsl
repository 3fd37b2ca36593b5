// Convolution, K × K (odd), forward and backward to its input: the last of the decoder, zero padding K/2, no bias, C to C.
//
//   output[b, o, y, x] = Σ_{c, i, j} weight[o, c, i, j] · input[b, c, y + i - K/2, x + j - K/2]
//
// Where FLIPPED, the gradient to its input instead, from the gradient of its output: the same sum with input and output
// channels of the weight exchanged and both axes of the kernel reversed.
//
//   output[b, c, y, x] = Σ_{o, i, j} weight[o, c, i, j] · input[b, o, y - i + K/2, x - j + K/2]
//
// input, output [B, C, S, S] f32; weight [C, C, K, K] f32.
// One invocation: four neighbouring pixels of one row and one channel, so that a weight is read once for four products
// and a row of input slides through registers. Workgroup memory: none.

override FLIPPED: bool = false;

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  kernel_size: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

/// A value of the row that starts at `start`, zero outside the image.
fn tap(start: u32, x: i32) -> f32 {
  if x < 0 || x >= i32(p.image_size) {
    return 0.0;
  }
  return input[start + u32(x)];
}

@compute @workgroup_size(64)
fn convolve(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let columns = (p.image_size + 3) / 4;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * p.channels * p.image_size * columns {
    return;
  }
  let x = 4 * (at % columns);
  let y = (at / columns) % p.image_size;
  let channel = (at / (columns * p.image_size)) % p.channels;
  let b = at / (columns * p.image_size * p.channels);
  let size = i32(p.image_size);
  let reach = i32(p.kernel_size / 2);

  var sum = vec4f();
  for (var c = 0u; c < p.channels; c++) {
    for (var i = 0i; i < i32(p.kernel_size); i++) {
      let row = i32(y) + i - reach;
      if row < 0 || row >= size {
        continue;
      }
      let start = ((b * p.channels + c) * p.image_size + u32(row)) * p.image_size;
      var weights = ((channel * p.channels + c) * p.kernel_size + u32(i)) * p.kernel_size;
      if FLIPPED {
        weights = ((c * p.channels + channel + 1) * p.kernel_size - u32(i)) * p.kernel_size - 1;
      }
      let left = i32(x) - reach;
      var window = vec4f(0.0, tap(start, left), tap(start, left + 1), tap(start, left + 2));
      for (var j = 0i; j < i32(p.kernel_size); j++) {
        window = vec4f(window.yzw, tap(start, left + j + 3));
        sum += weight[select(weights + u32(j), weights - u32(j), FLIPPED)] * window;
      }
    }
  }
  let target_at = ((b * p.channels + channel) * p.image_size + y) * p.image_size + x;
  for (var lane = 0u; lane < 4; lane++) {
    if x + lane < p.image_size {
      output[target_at + lane] = sum[lane];
    }
  }
}
