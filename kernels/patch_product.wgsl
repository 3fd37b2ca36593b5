// Un-patchify with a low-rank product, forward: the decoder's matrix multiplication within every patch.
//
// Each token's D numbers are two matrices a channel: left [C, P, k] and right [C, k, P], k = D / (2·C·P). Their batched GEMM
// R[c, i, j] = Σ_r left[c, i, r] · right[c, r, j] has C·P·P numbers in memory order (c·P + i)·P + j.
//
// The layout trap: those numbers are then read back as [P, P, C], with no transpose. Element f of a patch's buffer lands
// on pixel (f / (P·C), (f / C) mod P), channel f mod C. The published weights were trained with it.
//
// tokens [B·(1 + N), tokens_stride] elem, token 0 is CLS and is dropped     image [B, C, S, S] f32, normalised units
// One invocation writes one value of the image. Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  images: u32,
  channels: u32,
  image_size: u32,
  patch_size: u32,
  rank: u32,
  tokens_stride: u32,
}

@group(0) @binding(0) var<storage, read> tokens: array<elem4>;
@group(0) @binding(1) var<storage, read_write> image: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn number(at: u32) -> f32 {
  return widen(tokens[at / 4])[at % 4];
}

@compute @workgroup_size(64)
fn unpatchify(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let plane = p.image_size * p.image_size;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * p.channels * plane {
    return;
  }
  let x = at % p.image_size;
  let y = (at / p.image_size) % p.image_size;
  let channel = (at / plane) % p.channels;
  let b = at / (plane * p.channels);

  let size = p.patch_size;
  let side = p.image_size / size;
  let token = 1 + (y / size) * side + x / size;
  let f = ((y % size) * size + x % size) * p.channels + channel;
  let c = f / (size * size);
  let i = (f / size) % size;
  let j = f % size;

  let start = (b * (side * side + 1) + token) * p.tokens_stride;
  let left = start + (c * size + i) * p.rank;
  let right = start + p.channels * size * p.rank + c * p.rank * size + j;
  var sum = 0.0;
  for (var r = 0u; r < p.rank; r++) {
    sum += number(left + r) * number(right + r * size);
  }
  image[at] = sum;
}
