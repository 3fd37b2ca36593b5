// Anatomical and style loss, forward: one level of features of stylized images, and the coefficients of their gradient.
//
//   f' = (f - m) / s,  g' = (g - n) / t: each image and channel by its own mean and deviation, s = sqrt(max(variance, 1e-5))
//   anatomical[i, c] = scale / S² · Σ_pixels (f' - g')²                      scale = 1 / (batch · C)
//   style[i, c] = scale · ((m - mean of the style)² + (s - deviation of the style)²)
//   d (weights · losses) / d f = p · (f - m) + q · (g - n) + r, differentiated through m and s:
//     k = 2 · anatomical_weight · scale / S²,  l = 2 · style_weight · scale / S²,  M = mean over pixels of (f' - g') · f'
//     p = k / s² · (1 - M) + l · (s - deviation) / s,  q = -k / (s · t),  r = l · (m - mean)
//   Where the variance is below 1e-5, s is constant: M and the term of the deviation in p are dropped. The mean over pixels of
//   f' - g', which the gradient through m would subtract, is zero.
//
// The gradient is left to kernels/feature_backward.wgsl, which has f and g at hand again: no map of it is stored here.
// f, g [images, S + 2, S + 2, 4 · channels4] elem: bordered maps of the stylized images and of their contents
// statistics [rows, 2, 4 · channels4] f32 of kernels/feature_statistics.wgsl: of content i in row first_content + i, of its
// style in row styles[i]; styles [images] u32
// coefficients [images, 5, 4 · channels4] f32: m, n, p, q, r     partials: two of [images, 4 · channels4] f32    padding is zero
// Three sweeps: mean, variance, then both sums over differences themselves; from moments they would cancel.
// One workgroup: one image, COLS4 vec4s of channels, LANES invocations to each over the pixels; their sums meet in a tree.
// Workgroup memory: 16 · COLS4 · LANES bytes. Generated in front: elem4, result4, parts/channel_strips.wgsl.

struct Parameters {
  images: u32,
  channels: u32,
  side: u32,
  channels4: u32,
  f_maps_offset4: u32,
  g_maps_offset4: u32,
  statistics_offset4: u32,
  first_content: u32,
  styles_offset: u32,
  coefficients_offset4: u32,
  anatomical_offset4: u32,
  style_offset4: u32,
  scale: f32,
  anatomical_weight: f32,
  style_weight: f32,
}

@group(0) @binding(0) var<storage, read> f_maps: array<elem4>;
@group(0) @binding(1) var<storage, read> g_maps: array<elem4>;
@group(0) @binding(2) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(3) var<storage, read> styles: array<u32>;
@group(0) @binding(4) var<storage, read_write> coefficients: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(COLS4 * LANES)
fn stylized_loss(
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
  let share = 1.0 / f32(pixels);
  let start = min(column, p.channels4 - 1);

  var sum = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      part += widen(f_maps[p.f_maps_offset4 + start + pixel_start(image, i, p.side, p.channels4)]);
    }
    sum += part;
  }
  let mean = column_sum(sum, index) / f32(pixels);

  var squares = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      let centred = widen(f_maps[p.f_maps_offset4 + start + pixel_start(image, i, p.side, p.channels4)]) - mean;
      part += centred * centred;
    }
    squares += part;
  }
  let variance = column_sum(squares, index) / f32(pixels);
  let deviation = sqrt(max(variance, vec4f(1e-5)));

  let content = p.statistics_offset4 + 2 * (p.first_content + image) * p.channels4 + start;
  let content_mean = statistics[content];
  let content_deviation = statistics[content + p.channels4];
  squares = vec4f();
  var products = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part_squares = vec4f();
    var part_products = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      let at = start + pixel_start(image, i, p.side, p.channels4);
      let normal = (widen(f_maps[p.f_maps_offset4 + at]) - mean) / deviation;
      let difference = normal - (widen(g_maps[p.g_maps_offset4 + at]) - content_mean) / content_deviation;
      part_squares += difference * difference;
      part_products += difference * normal;
    }
    squares += part_squares;
    products += part_products;
  }
  let anatomical = p.scale * share * column_sum(squares, index);
  let product = share * column_sum(products, index);

  if index < COLS4 && column < p.channels4 {
    let inside = channels_inside(column, p.channels);
    let style = p.statistics_offset4 + 2 * styles[p.styles_offset + image] * p.channels4 + column;
    let mean_error = mean - statistics[style];
    let deviation_error = deviation - statistics[style + p.channels4];
    let moving = vec4f(variance >= vec4f(1e-5));
    let k = 2.0 * p.anatomical_weight * p.scale * share;
    let l = 2.0 * p.style_weight * p.scale * share;
    let of_f = k / (deviation * deviation) * (1.0 - moving * product) + moving * l * deviation_error / deviation;
    let of_g = -k / (deviation * content_deviation);

    let at = p.coefficients_offset4 + 5 * image * p.channels4 + column;
    coefficients[at] = mean;
    coefficients[at + p.channels4] = content_mean;
    coefficients[at + 2 * p.channels4] = select(vec4f(), of_f, inside);
    coefficients[at + 3 * p.channels4] = select(vec4f(), of_g, inside);
    coefficients[at + 4 * p.channels4] = select(vec4f(), l * mean_error, inside);
    let place = image * p.channels4 + column;
    partials[p.anatomical_offset4 + place] = select(vec4f(), anatomical, inside);
    partials[p.style_offset4 + place] =
      select(vec4f(), p.scale * (mean_error * mean_error + deviation_error * deviation_error), inside);
  }
}
