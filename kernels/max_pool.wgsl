// Max pooling, forward: windows of 2 × 2, stride 2, of bordered maps. An odd last row and column are dropped.
//
//   output[b, y + 1, x + 1, c] = max over i, j in {0, 1} of input[b, 2·y + i + 1, 2·x + j + 1, c]
//
// input [images, S + 2, S + 2, 4 · channels4] elem        output [images, S/2 + 2, S/2 + 2, 4 · channels4] elem, S/2 floored
// Neither border is touched. One invocation writes one vec4 of a pixel. Workgroup memory: none.
// Generated in front: elem4, result4.

struct Parameters {
  images: u32,
  side: u32,
  channels4: u32,
  input_offset4: u32,
  output_offset4: u32,
}

@group(0) @binding(0) var<storage, read> input: array<elem4>;
@group(0) @binding(1) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn max_pool(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let half_side = p.side / 2;
  let at = id.y * groups.x * 64 + id.x;
  if at >= p.images * half_side * half_side * p.channels4 {
    return;
  }
  let column = at % p.channels4;
  let x = (at / p.channels4) % half_side;
  let y = (at / (p.channels4 * half_side)) % half_side;
  let image = at / (p.channels4 * half_side * half_side);
  let width = p.side + 2;
  let row = width * p.channels4;
  let corner = p.input_offset4 + ((image * width + 2 * y + 1) * width + 2 * x + 1) * p.channels4 + column;
  let upper = max(widen(input[corner]), widen(input[corner + p.channels4]));
  let lower = max(widen(input[corner + row]), widen(input[corner + row + p.channels4]));
  let place = (image * (half_side + 2) + y + 1) * (half_side + 2) + x + 1;
  output[p.output_offset4 + place * p.channels4 + column] = to_result(max(upper, lower));
}
