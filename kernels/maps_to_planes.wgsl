// Layout conversion, bordered maps (NHWC) to planes (NCHW): the gradient of the features' input as that of the image.
//
//   planes[b, c, y, x] = maps[b, y + 1, x + 1, c]  [+ planes[b, c, y, x] where ACCUMULATE]
//
// maps [images, S + 2, S + 2, 4 · channels4] elem                planes [images, C, S, S] f32
// One invocation writes one value. Workgroup memory: none. Generated in front: elem4, result4.

override ACCUMULATE: bool = false;

struct Parameters {
  images: u32,
  channels: u32,
  side: u32,
  channels4: u32,
  maps_offset4: u32,
  planes_offset: u32,
}

@group(0) @binding(0) var<storage, read> maps: array<elem4>;
@group(0) @binding(1) var<storage, read_write> planes: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn maps_to_planes(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let area = p.side * p.side;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * p.channels * area {
    return;
  }
  let pixel = at % area;
  let c = (at / area) % p.channels;
  let image = at / (area * p.channels);
  let width = p.side + 2;
  let place = (image * width + pixel / p.side + 1) * width + pixel % p.side + 1;
  var value = widen(maps[p.maps_offset4 + place * p.channels4 + c / 4])[c % 4];
  if ACCUMULATE {
    value += planes[p.planes_offset + at];
  }
  planes[p.planes_offset + at] = value;
}
