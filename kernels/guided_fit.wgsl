// Guided detail, second of four kernels: around every pixel the affine map of colours that turns the content into the painting.
//
//   (cov(I, I) + epsilon · 1) A = cov(I, p),   b = mean(p) - Aᵀ mean(I)      over the (2 radius + 1)² pixels inside the rectangle
//
// moments [slots, H, W, 6] vec4f: means along rows, from guided_moments.wgsl; their means along columns are taken here
// places [all slots] two vec4u each, as there
// coefficients [slots, H, W, 3] vec4f, written inside the rectangles: (A_rc, A_gc, A_bc, b_c) for c of r, g, b
// Values lie in [0, 1] and epsilon is 1e-3 or so: the difference of two means loses 1e-7 of f32 and no more.
// One invocation: one pixel.
// Workgroup memory: none. Generated in front: parts/guided.wgsl.

struct Parameters {
  slots: u32,
  first_slot: u32,
  height: u32,
  width: u32,
  radius: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read> moments: array<vec4f>;
@group(0) @binding(1) var<storage, read> places: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> coefficients: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn guided_fit(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
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
  let low = max(y, rectangle.y + p.radius) - p.radius;
  let high = min(y + p.radius, rectangle.y + rectangle.w - 1);
  var m = array<vec4f, 6>();
  for (var row = low; row <= high; row++) {
    let base = 6 * (at - y * p.width + row * p.width);
    for (var k = 0u; k < 6; k++) {
      m[k] += moments[base + k];
    }
  }
  let count = f32(high - low + 1);
  for (var k = 0u; k < 6; k++) {
    m[k] /= count;
  }

  let i = m[0].xyz;
  let q = vec3f(m[0].w, m[1].xy);
  // Covariance of the content as L D Lᵀ. Its adjugate over its determinant would lose six digits where channels are alike.
  let xx = m[1].z - i.x * i.x + p.epsilon;
  let xy = m[1].w - i.x * i.y;
  let xz = m[2].x - i.x * i.z;
  let yx = xy / xx;
  let zx = xz / xx;
  let yy = m[2].y - i.y * i.y + p.epsilon - yx * xy;
  let yz = m[2].z - i.y * i.z - yx * xz;
  let zy = yz / yy;
  let zz = m[2].w - i.z * i.z + p.epsilon - zx * xz - zy * yz;
  let cross = array<vec3f, 3>(
    m[3].xyz - i * q.x,
    vec3f(m[3].w, m[4].xy) - i * q.y,
    vec3f(m[4].zw, m[5].x) - i * q.z,
  );
  for (var c = 0u; c < 3; c++) {
    let right = cross[c];
    let second = right.y - yx * right.x;
    let blue = (right.z - zx * right.x - zy * second) / zz;
    let green = second / yy - zy * blue;
    let a = vec3f(right.x / xx - yx * green - zx * blue, green, blue);
    coefficients[3 * at + c] = vec4f(a, q[c] - dot(a, i));
  }
}
