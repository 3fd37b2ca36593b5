// Patchify (im2col of a convolution whose stride is its kernel): images to rows of patches, normalised.
//
//   patches[b·tokens + 1 + n, (c·P + y)·P + x] = (pixel(b, c, Y(n) + y, X(n) + x) - mean[c]) / deviation[c]
//
// The embedding is a convolution of P × P with stride P, so it is one GEMM of these rows with the weight flattened as
// [D, C·P·P]. Row 0 of every image stands for the CLS token and is zero: bias, CLS and position come from the table that
// the GEMM adds (position_table.wgsl), so patch embedding, CLS and position cost one linear layer.
//
// bytes   : 8-bit pixels, [B, H, W, C], packed four to a word, value / 255
// floats  : f32 pixels at any strides: [B, C, H, W] normalised (mean 0, deviation 1), or [B, H, W, C] in [0, 1]
// patches : [B·tokens, 4·depth4] elem, zero behind C·P·P
// One invocation writes one vec4. Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  images: u32,
  channels: u32,
  width: u32,
  patch_size: u32,
  depth4: u32,
  first_row: u32,
  image_stride: u32,
  row_stride: u32,
  pixel_stride: u32,
  channel_stride: u32,
  height: u32,
  padding0: u32,
  mean: vec4f,
  deviation: vec4f,
}

@group(0) @binding(0) var<storage, read> pixels: array<u32>;
@group(0) @binding(1) var<storage, read_write> patches: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

override BYTES: bool = true;

fn pixel(at: u32) -> f32 {
  if BYTES {
    return f32(extractBits(pixels[at / 4], 8 * (at % 4), 8)) / 255.0;
  }
  return bitcast<f32>(pixels[at]);
}

@compute @workgroup_size(64)
fn patchify(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let columns = p.width / p.patch_size;
  let tokens = columns * (p.height / p.patch_size) + 1;
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.images * tokens * p.depth4 {
    return;
  }
  let row = i / p.depth4;
  let image = row / tokens;
  let token = row % tokens;
  var value = vec4f();
  if token > 0 {
    let patch_index = token - 1;
    let corner_y = (patch_index / columns) * p.patch_size;
    let corner_x = (patch_index % columns) * p.patch_size;
    let area = p.patch_size * p.patch_size;
    for (var lane = 0u; lane < 4; lane++) {
      let k = 4 * (i % p.depth4) + lane;
      let channel = k / area;
      if channel < p.channels {
        let y = corner_y + (k % area) / p.patch_size;
        let x = corner_x + k % p.patch_size;
        let at = image * p.image_stride + y * p.row_stride + x * p.pixel_stride + channel * p.channel_stride;
        let c = min(channel, 3u); // planes of more channels come normalised: all entries are then alike
        value[lane] = (pixel(at) - p.mean[c]) / p.deviation[c];
      }
    }
  }
  patches[(p.first_row + row) * p.depth4 + i % p.depth4] = to_result(value);
}
