// Painted windows of a large image, added to the sums that they overlap in: canvas[y, x] += Σ w · (value, 1)
//
//   w = weights[row] · weights[column]: a raised cosine from the host, since sine may be 5e-4 off on a device
//
// windows [count, S, S, C] f32 in [0, 1]; places [count] vec2u: column and row of each window's first pixel in the canvas
// weights [S] f32
// canvas [height, width] vec4f: sums of w · r, w · g, w · b (grey: three times the same) and of w
// One invocation: one pixel of the rows that the windows reach. Workgroup memory: none. Generated in front: nothing used.

struct Parameters {
  count: u32,
  side: u32,
  channels: u32,
  width: u32,
  height: u32,
}

@group(0) @binding(0) var<storage, read> windows: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<vec2u>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> canvas: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn blend_windows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.height * p.width {
    return;
  }
  let place = vec2u(at % p.width, at / p.width);
  var sum = vec4f();
  for (var k = 0u; k < p.count; k++) {
    // A pixel in front of a window is, unsigned, far behind it.
    let inner = place - places[k];
    if inner.x >= p.side || inner.y >= p.side {
      continue;
    }
    let first = ((k * p.side + inner.y) * p.side + inner.x) * p.channels;
    var value = vec3f(windows[first]);
    if p.channels == 3 {
      value = vec3f(windows[first], windows[first + 1], windows[first + 2]);
    }
    sum += weights[inner.x] * weights[inner.y] * vec4f(value, 1.0);
  }
  canvas[at] += sum;
}
