// Un-patchify with a low-rank product, backward (kernels/patch_product.wgsl, which tells of the layout trap).
//
//   d_left[c, i, r] = Σ_j dR[c, i, j] · right[c, r, j]        d_right[c, r, j] = Σ_i dR[c, i, j] · left[c, i, r]
//
// dR[c, i, j] is number f = (c·P + i)·P + j of a patch's [P, P, C]: pixel (f / (P·C), (f / C) mod P), channel f mod C.
// tokens, d_tokens [B·(1 + N), stride] elem: left [C, P, k], then right [C, k, P]; the CLS rows of d_tokens and what is behind
// the numbers of its other rows are written as zero
// d_image [B, C, S, S] f32
// One invocation writes one vec4. Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  patch_size: u32,
  rank: u32,
  d_image_offset: u32,
  tokens_offset: u32,
  tokens_stride: u32,
  d_tokens_offset4: u32,
  d_tokens_stride4: u32,
}

@group(0) @binding(0) var<storage, read> d_image: array<f32>;
@group(0) @binding(1) var<storage, read> tokens: array<elem4>;
@group(0) @binding(2) var<storage, read_write> d_tokens: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn number(at: u32) -> f32 {
  return widen(tokens[at / 4])[at % 4];
}

/// Number `f` of the gradient of a patch's product, of the patch whose first pixel is number `corner` of channel 0.
fn d_product(corner: u32, f: u32) -> f32 {
  let pixel = f / p.channels;
  let place = corner + (pixel / p.patch_size) * p.image_size + pixel % p.patch_size;
  return d_image[place + (f % p.channels) * p.image_size * p.image_size];
}

@compute @workgroup_size(64)
fn patch_product_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let size = p.patch_size;
  let side = p.image_size / size;
  let tokens_of_image = side * side + 1;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * tokens_of_image * p.d_tokens_stride4 {
    return;
  }
  let row = at / p.d_tokens_stride4;
  let token = row % tokens_of_image;
  let half = p.channels * size * p.rank;
  var value = vec4f();
  if token > 0 {
    let start = p.tokens_offset + row * p.tokens_stride;
    let y = ((token - 1) / side) * size;
    let x = ((token - 1) % side) * size;
    let image = (row / tokens_of_image) * p.channels * p.image_size * p.image_size;
    let corner = p.d_image_offset + image + y * p.image_size + x;
    for (var lane = 0u; lane < 4; lane++) {
      let e = 4 * (at % p.d_tokens_stride4) + lane;
      if e < half {
        let line = e / p.rank; // c·P + i
        let right = start + half + ((line / size) * p.rank + e % p.rank) * size;
        for (var j = 0u; j < size; j++) {
          value[lane] += d_product(corner, line * size + j) * number(right + j);
        }
      } else if e < 2 * half {
        let c = (e - half) / (p.rank * size);
        let r = ((e - half) / size) % p.rank;
        let j = (e - half) % size;
        for (var i = 0u; i < size; i++) {
          let line = c * size + i;
          value[lane] += d_product(corner, line * size + j) * number(start + line * p.rank + r);
        }
      }
    }
  }
  d_tokens[p.d_tokens_offset4 + row * p.d_tokens_stride4 + at % p.d_tokens_stride4] = to_result(value);
}
