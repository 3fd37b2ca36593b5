// Convolution, backward pass to its weight: the decoder's, in slabs of rows whose partial sums are added elsewhere.
//
//   partials[b · slabs + s, (o, c, i, j)] = Σ_{y in slab s, x} d_output[b, o, y, x] · input[b, c, y + i - K/2, x + j - K/2]
//
// input, d_output [images, C, S, S] f32, zero around                partials [images · slabs, stride] f32: C·C·K·K numbers in the
// order of the weight, zero behind them. A slab is ROWS rows of an image.
// One invocation: one number of one slab, so that sums are in one order and meet in no memory: neighbours read the same
// d_output and neighbouring inputs, from cache. Workgroup memory: none. Generated in front: nothing that is used.

override ROWS: u32 = 8;

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  kernel_size: u32,
  stride: u32,
  input_offset: u32,
  d_output_offset: u32,
  partials_offset: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> d_output: array<f32>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn convolution_gradient(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let slabs = (p.image_size + ROWS - 1) / ROWS;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * slabs * p.stride {
    return;
  }
  let number = at % p.stride;
  let slab = (at / p.stride) % slabs;
  let b = at / (p.stride * slabs);
  let j = i32(number % p.kernel_size);
  let i = i32((number / p.kernel_size) % p.kernel_size);
  let c = (number / (p.kernel_size * p.kernel_size)) % p.channels;
  let o = number / (p.kernel_size * p.kernel_size * p.channels);

  var sum = 0.0;
  if o < p.channels {
    let size = i32(p.image_size);
    let reach = i32(p.kernel_size / 2);
    let shift = j - reach;
    let last = min(size, i32((slab + 1) * ROWS));
    for (var y = i32(slab * ROWS); y < last; y++) {
      let row = y + i - reach;
      if row < 0 || row >= size {
        continue;
      }
      let d_row = p.d_output_offset + ((b * p.channels + o) * p.image_size + u32(y)) * p.image_size;
      let input_row = p.input_offset + ((b * p.channels + c) * p.image_size + u32(row)) * p.image_size;
      for (var x = max(0, -shift); x < min(size, size - shift); x++) {
        sum += d_output[d_row + u32(x)] * input[input_row + u32(x + shift)];
      }
    }
  }
  partials[p.partials_offset + at] = sum;
}
