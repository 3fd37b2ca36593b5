// Guided detail, first of four kernels: means of content, painting and their products along rows (He, Sun, Tang 2013; He, Sun 2015).
//
//   moments[s, y, x] = mean over |x' - x| <= radius, x' inside the rectangle, of
//     I_r I_g I_b | p_r p_g p_b | I_r² I_r·I_g I_r·I_b I_g² I_g·I_b I_b² | I_r·p I_g·p I_b·p (nine) | three zeros
//
// content [images, rows, columns, C] 8-bit, packed four to a word: the image as the model saw it, I = value / 255
// painted [images, rows, columns, C] f32 in [0, 1]
// places [all slots] two vec4u each: the slot's rectangle, left, top, width and height of what is image in it (around it is padding,
//   which counts nowhere); column and row of the slot's first pixel in its images, number of its content and of its painting
// moments [slots, H, W, 6] vec4f, written inside the rectangles. Grey counts as three equal channels.
// One invocation: one pixel. Workgroup memory: none. Generated in front: parts/guided.wgsl.

struct Parameters {
  slots: u32,
  first_slot: u32,
  height: u32,
  width: u32,
  channels: u32,
  radius: u32,
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> painted: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> moments: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn guide(pixel: u32) -> vec3f {
  let at = pixel * p.channels;
  let red = level(content[at / 4], at);
  if p.channels == 1 {
    return vec3f(red);
  }
  return vec3f(red, level(content[(at + 1) / 4], at + 1), level(content[(at + 2) / 4], at + 2));
}

fn painting(index: u32) -> vec3f {
  if p.channels == 1 {
    return vec3f(painted[index]);
  }
  return vec3f(painted[3 * index], painted[3 * index + 1], painted[3 * index + 2]);
}

@compute @workgroup_size(64)
fn guided_moments(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.y * groups.x * 64 + id.x;
  let area = p.height * p.width;
  if at >= p.slots * area {
    return;
  }
  let slot = p.first_slot + at / area;
  let y = (at % area) / p.width;
  let x = at % p.width;
  let rectangle = places[2 * slot];
  if !inside(rectangle, x, y) {
    return;
  }
  let low = max(x, rectangle.x + p.radius) - p.radius;
  let high = min(x + p.radius, rectangle.x + rectangle.z - 1);
  let source = places[2 * slot + 1];
  let start = (source.y + y) * p.columns + source.x;
  let content_row = source.z * p.rows * p.columns + start;
  let painted_row = source.w * p.rows * p.columns + start;
  var sums = array<vec4f, 6>();
  for (var column = low; column <= high; column++) {
    let i = guide(content_row + column);
    let q = painting(painted_row + column);
    sums[0] += vec4f(i, q.x);
    sums[1] += vec4f(q.yz, i.x * i.xy);
    sums[2] += vec4f(i.x * i.z, i.y * i.yz, i.z * i.z);
    sums[3] += vec4f(i * q.x, i.x * q.y);
    sums[4] += vec4f(i.yz * q.y, i.xy * q.z);
    sums[5] += vec4f(i.z * q.z, 0, 0, 0);
  }
  let count = f32(high - low + 1);
  for (var k = 0u; k < 6; k++) {
    moments[6 * at + k] = sums[k] / count;
  }
}
