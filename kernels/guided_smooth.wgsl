// Guided detail, third of four kernels, run along rows and then along columns: the mean of the colour maps around every pixel.
//
//   output[s, y, x, c] = mean of input[s, y', x', c] over |x' - x| <= radius (VERTICAL: |y' - y|) inside the rectangle
//
// input, output [slots, H, W, 3] vec4f
// places [all slots] two vec4u each, as in guided_moments.wgsl
// One invocation: one pixel. Workgroup memory: none. Generated in front: parts/guided.wgsl.

override VERTICAL: bool = false;

struct Parameters {
  slots: u32,
  first_slot: u32,
  height: u32,
  width: u32,
  radius: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read> places: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn guided_smooth(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.y * groups.x * 64 + id.x;
  let area = p.height * p.width;
  if at >= p.slots * area {
    return;
  }
  let y = (at % area) / p.width;
  let x = at % p.width;
  let rectangle = places[2 * (p.first_slot + at / area)];
  if !inside(rectangle, x, y) {
    return;
  }
  let start = select(rectangle.xz, rectangle.yw, VERTICAL);
  let place = select(x, y, VERTICAL);
  let step = select(1u, p.width, VERTICAL);
  let low = max(place, start.x + p.radius) - p.radius;
  let high = min(place + p.radius, start.x + start.y - 1);
  let base = at - place * step;
  var sums = array<vec4f, 3>();
  for (var k = low; k <= high; k++) {
    for (var c = 0u; c < 3; c++) {
      sums[c] += input[3 * (base + k * step) + c];
    }
  }
  let count = f32(high - low + 1);
  for (var c = 0u; c < 3; c++) {
    output[3 * at + c] = sums[c] / count;
  }
}
