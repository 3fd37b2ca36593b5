// Mean and standard deviation of every channel of bordered maps, over an image's pixels: what a style is to the style loss.
//
//   mean = Σ x / S²        deviation = sqrt(max(Σ (x - mean)² / S², 1e-5))        two passes: one would cancel
//
// maps [images, S + 2, S + 2, 4 · channels4] elem, of which the S × S pixels inside the border count
// statistics [images, 2, 4 · channels4] f32: means, then deviations; those of padding are 0 and sqrt(1e-5), so that they divide
// One workgroup: one image, COLS4 vec4s of channels, LANES invocations to each over the pixels; their sums meet in a tree.
// Workgroup memory: 16 · COLS4 · LANES bytes. Generated in front: elem4, result4, parts/channel_strips.wgsl.

struct Parameters {
  images: u32,
  side: u32,
  channels4: u32,
  maps_offset4: u32,
  statistics_offset4: u32,
}

@group(0) @binding(0) var<storage, read> maps: array<elem4>;
@group(0) @binding(1) var<storage, read_write> statistics: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(COLS4 * LANES)
fn feature_statistics(
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
  let start = p.maps_offset4 + min(column, p.channels4 - 1);

  var sum = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      part += widen(maps[start + pixel_start(image, i, p.side, p.channels4)]);
    }
    sum += part;
  }
  let mean = column_sum(sum, index) / f32(pixels);

  var squares = vec4f();
  for (var block = index / COLS4; block < pixels; block += LANES * BLOCK) {
    var part = vec4f();
    for (var i = block; i < min(block + LANES * BLOCK, pixels); i += LANES) {
      let centred = widen(maps[start + pixel_start(image, i, p.side, p.channels4)]) - mean;
      part += centred * centred;
    }
    squares += part;
  }
  let variance = column_sum(squares, index) / f32(pixels);

  if index < COLS4 && column < p.channels4 {
    let at = p.statistics_offset4 + 2 * image * p.channels4 + column;
    statistics[at] = mean;
    statistics[at + p.channels4] = sqrt(max(variance, vec4f(1e-5)));
  }
}
