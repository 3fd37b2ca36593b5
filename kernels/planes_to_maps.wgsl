// Layout conversion, planes (NCHW) to bordered maps (NHWC): the first input of the convolutional features.
//
//   maps[b, y + 1, x + 1, c] = planes[b, c, y, x], zero where c ≥ C
//
// planes [images, C, S, S] f32                maps [images, S + 2, S + 2, 4 · channels4] elem, whose border is left alone
// One invocation writes one vec4 of a pixel. Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  images: u32,
  channels: u32,
  side: u32,
  channels4: u32,
  planes_offset: u32,
  maps_offset4: u32,
}

@group(0) @binding(0) var<storage, read> planes: array<f32>;
@group(0) @binding(1) var<storage, read_write> maps: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn planes_to_maps(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let area = p.side * p.side;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * area * p.channels4 {
    return;
  }
  let column = at % p.channels4;
  let pixel = (at / p.channels4) % area;
  let image = at / (p.channels4 * area);
  var value = vec4f();
  for (var lane = 0u; lane < 4; lane++) {
    let c = 4 * column + lane;
    if c < p.channels {
      value[lane] = planes[p.planes_offset + (image * p.channels + c) * area + pixel];
    }
  }
  let width = p.side + 2;
  let place = (image * width + pixel / p.side + 1) * width + pixel % p.side + 1;
  maps[p.maps_offset4 + place * p.channels4 + column] = to_result(value);
}
