// Conversion, f32 to float16: rows of the residual gradient as the GEMMs of 16-bit tiers take their operands.
//
//   output[i] = input[first + i]
//
// input f32, output elem, both contiguous; only 16-bit tiers need it. One invocation writes one vec4.
// Workgroup memory: none. Generated in front: elem4, result4.

struct Parameters {
  count4: u32,
  input_offset4: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn narrow(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i < p.count4 {
    output[i] = to_result(input[p.input_offset4 + i]);
  }
}
