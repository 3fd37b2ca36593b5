// Zeros beside an image that does not fill its square: in front of every convolution they stand for the border that it has there.
//
//   maps[b, y + 1, x + 1, c] = 0 where y ≥ height or x ≥ width
//
// maps [images, S + 2, S + 2, 4 · channels4] elem; the border and the image are left alone
// One invocation looks at one vec4 of a pixel. Workgroup memory: none. Generated in front: result4.

struct Parameters {
  images: u32,
  side: u32,
  channels4: u32,
  height: u32,
  width: u32,
  maps_offset4: u32,
}

@group(0) @binding(0) var<storage, read_write> maps: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn clear_margin(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let area = p.side * p.side;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * area * p.channels4 {
    return;
  }
  let pixel = (at / p.channels4) % area;
  let image = at / (p.channels4 * area);
  if pixel / p.side < p.height && pixel % p.side < p.width {
    return;
  }
  let across = p.side + 2;
  let place = (image * across + pixel / p.side + 1) * across + pixel % p.side + 1;
  maps[p.maps_offset4 + place * p.channels4 + at % p.channels4] = to_result(vec4f());
}
