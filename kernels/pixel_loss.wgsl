// Identity loss, forward and backward: mean squared error of images and their reconstructions.
//
//   gradient[i] = 2 · weight · count[i] · scale · (y[i] - x[i]),  scale = 1 / (batch · C · S²)
//   Σ_k partials[i, k] = count[i] · scale · Σ (y[i] - x[i])²
//
// x (images), y (reconstructions), gradient [images, C, S, S] f32     counts [images] f32: how often a pair occurs in the batch
// partials [images, SLICES] f32
// One workgroup: one slice of one image, LANES invocations.
// Workgroup memory: 4 · LANES bytes. In front: SLICES, parts/lane_sum.wgsl.

struct Parameters {
  images: u32,
  values: u32,
  x_planes_offset: u32,
  y_planes_offset: u32,
  counts_offset: u32,
  gradient_offset: u32,
  partials_offset: u32,
  scale: f32,
  weight: f32,
}

@group(0) @binding(0) var<storage, read> x_planes: array<f32>;
@group(0) @binding(1) var<storage, read> y_planes: array<f32>;
@group(0) @binding(2) var<storage, read> counts: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES)
fn pixel_loss(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let slice = group.y * groups.x + group.x;
  let image = slice / SLICES;
  if image >= p.images {
    return;
  }
  let share = counts[p.counts_offset + image] * p.scale;
  let slope = 2.0 * p.weight * share;
  let length = (p.values + SLICES - 1) / SLICES;
  let first = (slice % SLICES) * length;
  let end = min(first + length, p.values);
  let start = image * p.values;

  var squares = 0.0;
  for (var i = first + index; i < end; i += LANES) {
    let difference = y_planes[p.y_planes_offset + start + i] - x_planes[p.x_planes_offset + start + i];
    squares += difference * difference;
    gradient[p.gradient_offset + start + i] = slope * difference;
  }
  let whole = lane_sum(squares, index, index);
  if index == 0 {
    partials[p.partials_offset + slice] = share * whole;
  }
}
