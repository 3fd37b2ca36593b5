// Perceptual distance (LPIPS, Zhang et al. 2018) of two images, one level of their feature maps.
//
//   Σ_k partials[b, k] = Σ over pixels of Σ_c w[c] · (f[c] / (|f| + 1e-10) - g[c] / (|g| + 1e-10))²,  |.| over the channels
//
// a_maps (f), b_maps (g) [images, S + 2, S + 2, 4 · channels4] elem, inside the border; a pixel of zeros in both adds nothing
// weights [4 · channels4] f32, zeros in the padding                partials [images, slices] f32
// One workgroup: one slice of one image's pixels, LANES invocations. An invocation takes whole pixels, and reads their channels twice:
// lengths come first. Distances are summed by the host in float64. Workgroup memory: 4 · LANES bytes.
// Generated in front: elem4, parts/lane_sum.wgsl.

struct Parameters {
  images: u32,
  side: u32,
  channels4: u32,
  slices: u32,
  a_maps_offset4: u32,
  b_maps_offset4: u32,
  weights_offset4: u32,
  partials_offset: u32,
}

@group(0) @binding(0) var<storage, read> a_maps: array<elem4>;
@group(0) @binding(1) var<storage, read> b_maps: array<elem4>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES)
fn perceptual_distance(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let slice = group.y * groups.x + group.x;
  let image = slice / p.slices;
  if image >= p.images {
    return;
  }
  let pixels = p.side * p.side;
  let length = (pixels + p.slices - 1) / p.slices;
  let first = (slice % p.slices) * length;
  let width = p.side + 2;

  var sum = 0.0;
  for (var pixel = first + index; pixel < min(first + length, pixels); pixel += LANES) {
    let place = ((image * width + pixel / p.side + 1) * width + pixel % p.side + 1) * p.channels4;
    let a = p.a_maps_offset4 + place;
    let b = p.b_maps_offset4 + place;
    var squares = vec2f();
    for (var c = 0u; c < p.channels4; c++) {
      let f = widen(a_maps[a + c]);
      let g = widen(b_maps[b + c]);
      squares += vec2f(dot(f, f), dot(g, g));
    }
    let scale = 1.0 / (sqrt(squares) + 1e-10);
    for (var c = 0u; c < p.channels4; c++) {
      let difference = widen(a_maps[a + c]) * scale.x - widen(b_maps[b + c]) * scale.y;
      sum += dot(weights[p.weights_offset4 + c], difference * difference);
    }
  }
  let whole = lane_sum(sum, index, index);
  if index == 0 {
    partials[p.partials_offset + slice] = whole;
  }
}
