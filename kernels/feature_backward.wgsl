// ReLU, feature loss and 2 × 2 max pooling, backward pass of the three in one sweep: the gradient of h where f = ReLU(h) is
// compared by a loss and then pooled.
//
//   d_h = [f > 0 where MASK] · (p · (f - m) + q · (g - n) + r  [+ unpool(d_next) where POOLED])
//
// p · (f - m) + q · (g - n) + r is the loss's own gradient, by image and channel (kernels/consistency_loss.wgsl and
// stylized_loss.wgsl). unpool gives a window's gradient to the first of its maxima in the order of rows, as PyTorch does; they
// are found again in f, so that pooling need not store them. An odd last row and column are in no window and get none.
//
// f, g, d_h [images, S + 2, S + 2, 4 · channels4] elem, bordered maps: borders are left alone
// coefficients [images, 5, 4 · channels4] f32: m, n, p, q, r
// d_next [images, S/2 + 2, S/2 + 2, 4 · channels4] elem, S/2 floored; not read unless POOLED
// One invocation: a window of 2 × 2 pixels of one vec4 of channels. Workgroup memory: none. Generated in front: elem4, result4.

override MASK: bool = true;
override POOLED: bool = true;

struct Parameters {
  images: u32,
  side: u32,
  channels4: u32,
  f_maps_offset4: u32,
  g_maps_offset4: u32,
  coefficients_offset4: u32,
  d_next_offset4: u32,
  output_offset4: u32,
}

@group(0) @binding(0) var<storage, read> f_maps: array<elem4>;
@group(0) @binding(1) var<storage, read> g_maps: array<elem4>;
@group(0) @binding(2) var<storage, read> coefficients: array<vec4f>;
@group(0) @binding(3) var<storage, read> d_next: array<elem4>;
@group(0) @binding(4) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn feature_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let windows = (p.side + 1) / 2;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * windows * windows * p.channels4 {
    return;
  }
  let column = at % p.channels4;
  let x = (at / p.channels4) % windows;
  let y = (at / (p.channels4 * windows)) % windows;
  let image = at / (p.channels4 * windows * windows);
  let width = p.side + 2;
  let corner = ((image * width + 2 * y + 1) * width + 2 * x + 1) * p.channels4 + column;

  // What is left of the window's gradient: the first pixel that is the maximum takes it all.
  var pooled = vec4f();
  var highest = vec4f();
  if POOLED {
    let half_side = p.side / 2;
    if x < half_side && y < half_side {
      let place = (image * (half_side + 2) + y + 1) * (half_side + 2) + x + 1;
      pooled = widen(d_next[p.d_next_offset4 + place * p.channels4 + column]);
      let first = p.f_maps_offset4 + corner;
      let below = first + width * p.channels4;
      highest = max(
        max(widen(f_maps[first]), widen(f_maps[first + p.channels4])),
        max(widen(f_maps[below]), widen(f_maps[below + p.channels4])),
      );
    }
  }

  let of_image = p.coefficients_offset4 + 5 * image * p.channels4 + column;
  let m = coefficients[of_image];
  let n = coefficients[of_image + p.channels4];
  let of_f = coefficients[of_image + 2 * p.channels4];
  let of_g = coefficients[of_image + 3 * p.channels4];
  let constant = coefficients[of_image + 4 * p.channels4];
  for (var i = 0u; i < 4; i++) {
    if 2 * y + i / 2 >= p.side || 2 * x + i % 2 >= p.side {
      continue;
    }
    let place = corner + ((i / 2) * width + i % 2) * p.channels4;
    let f = widen(f_maps[p.f_maps_offset4 + place]);
    var gradient = of_f * (f - m) + of_g * (widen(g_maps[p.g_maps_offset4 + place]) - n) + constant;
    if POOLED {
      let taken = select(vec4f(), pooled, f == highest);
      gradient += taken;
      pooled -= taken;
    }
    if MASK {
      gradient = select(vec4f(), gradient, f > vec4f());
    }
    output[p.output_offset4 + place] = to_result(gradient);
  }
}
