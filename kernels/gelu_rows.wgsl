// GELU, forward or its derivative, elementwise: activations recomputed from what was kept in front of them.
//
//   output[i] = gelu(input[i]), or gelu'(input[i]) where DERIVATIVE        i < 4 · count4
//
// input, output [rows, cols] elem, contiguous, seen as one row of vec4s. gelu(0) = 0, so padding stays zero; the derivative
// of padding is ½, to be multiplied with what is zero there.
// One invocation computes one vec4. Workgroup memory: none.
// Generated in front: elem4, result4; parts/gelu.wgsl, parts/gelu_derivative.wgsl.

override DERIVATIVE: bool = false;

struct Parameters {
  count4: u32,
  input_offset4: u32,
  output_offset4: u32,
}

@group(0) @binding(0) var<storage, read> input: array<elem4>;
@group(0) @binding(1) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn gelu_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.count4 {
    return;
  }
  let x = widen(input[p.input_offset4 + i]);
  var value: vec4f;
  if DERIVATIVE {
    value = gelu_derivative(x);
  } else {
    value = gelu(x);
  }
  output[p.output_offset4 + i] = to_result(value);
}
