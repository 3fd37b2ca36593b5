// Reduction over slices: the partial results of split-K GEMMs, and gradients of what all images share.
//
//   output[i] (+)= scale · Σ_z input[z · slice_stride4 + i]        i < count4, z < slices, in the order of z
//
// input  [slices, 4·count4] f32, slices `slice_stride4` vec4s apart
// output [4·count4] f32; `accumulate` adds to what is there
// One invocation computes one vec4, and neighbours read neighbours. Workgroup memory: none. Generated in front: nothing used.

struct Parameters {
  count4: u32,
  slices: u32,
  slice_stride4: u32,
  input_offset4: u32,
  output_offset4: u32,
  accumulate: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn sum_slices(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.count4 {
    return;
  }
  var sum = vec4f();
  for (var z = 0u; z < p.slices; z++) {
    sum += input[p.input_offset4 + z * p.slice_stride4 + i];
  }
  sum *= p.scale;
  if p.accumulate != 0 {
    sum += output[p.output_offset4 + i];
  }
  output[p.output_offset4 + i] = sum;
}
