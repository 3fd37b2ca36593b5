// Consistency loss, forward: mean squared error of f and g, one level of features, and the coefficients of its gradient.
//
//   partials[i, c] = count[i] · scale · Σ_pixels (f[i] - g[i])²,  scale = 1 / (batch · C · S²)
//   d loss / d f = p · (f - m) + q · (g - n) + r  with  p = -q = 2 · weight · count[i] · scale,  m = n = r = 0
//
// The gradient is left to kernels/feature_backward.wgsl, which has f and g at hand again: no map of it is stored here.
// f, g [images, S + 2, S + 2, 4 · channels4] elem: bordered maps of the decodings and of their targets
// counts [images] f32: how often a pair occurs in the batch
// coefficients [images, 5, 4 · channels4] f32: m, n, p, q, r     partials [images, 4 · channels4] f32     padding is zero in both
// One workgroup: one image, COLS4 vec4s of channels, LANES invocations to each over the pixels; their sums meet in a tree.
// Workgroup memory: 16 · COLS4 · LANES bytes. Generated in front: elem4, result4, parts/channel_strips.wgsl.

struct Parameters {
  images: u32,
  channels: u32,
  side: u32,
  channels4: u32,
  f_maps_offset4: u32,
  g_maps_offset4: u32,
  counts_offset: u32,
  coefficients_offset4: u32,
  partials_offset4: u32,
  scale: f32,
  weight: f32,
}

@group(0) @binding(0) var<storage, read> f_maps: array<elem4>;
@group(0) @binding(1) var<storage, read> g_maps: array<elem4>;
@group(0) @binding(2) var<storage, read> counts: array<f32>;
@group(0) @binding(3) var<storage, read_write> coefficients: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(COLS4 * LANES)
fn consistency_loss(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let strips = (p.channels4 + COLS4 - 1) / COLS4;
  let image = (group.y * groups.x + group.x) / strips;
  let column = ((group.y * groups.x + group.x) % strips) * COLS4 + index % COLS4;
  if image >= p.images {
    return;
  }
  let pixels = p.side * p.side;
  let start = min(column, p.channels4 - 1);

  var squares = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      let at = start + pixel_start(image, i, p.side, p.channels4);
      let difference = widen(f_maps[p.f_maps_offset4 + at]) - widen(g_maps[p.g_maps_offset4 + at]);
      part += difference * difference;
    }
    squares += part;
  }
  let total = column_sum(squares, index);

  if index < COLS4 && column < p.channels4 {
    let inside = channels_inside(column, p.channels);
    let share = counts[p.counts_offset + image] * p.scale;
    let slope = select(vec4f(), vec4f(2.0 * p.weight * share), inside);
    let at = p.coefficients_offset4 + 5 * image * p.channels4 + column;
    coefficients[at] = vec4f();
    coefficients[at + p.channels4] = vec4f();
    coefficients[at + 2 * p.channels4] = slope;
    coefficients[at + 3 * p.channels4] = -slope;
    coefficients[at + 4 * p.channels4] = vec4f();
    partials[p.partials_offset4 + image * p.channels4 + column] = select(vec4f(), share * total, inside);
  }
}
