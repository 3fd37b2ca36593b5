// Rows times a factor each, with an optional residual: stochastic depth, or drop path (Huang et al. 2016), forward and backward.
//
//   output[m, i] = factors[m / each] · input[m, i]  [+ residual[m, i] where RESIDUAL]
//
// input, residual, output [rows, 4·cols4] f32, rows their strides apart; padding columns are computed like any other
// factors [⌈rows / each⌉] f32 at any offset: 0 where a sequence's branch is dropped, 1 / (1 - rate) where it is kept. A factor of 0 is a
// factor like any other: 0 · ∞ and 0 · NaN are NaN, so that what went wrong in a dropped branch still shows.
// Input and residual may lie in one buffer; the output lies in another.
//
// One invocation writes one vec4. Workgroup memory: none. Generated in front: nothing used.

override RESIDUAL: bool = false;

struct Parameters {
  rows: u32,
  cols4: u32,
  /// Rows that share a factor: those of a sequence.
  each: u32,
  factors_offset: u32,
  input_offset4: u32,
  input_stride4: u32,
  residual_offset4: u32,
  residual_stride4: u32,
  output_offset4: u32,
  output_stride4: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn scale_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.y * groups.x * 64 + id.x;
  let row = at / p.cols4;
  let i = at % p.cols4;
  if row >= p.rows {
    return;
  }
  var value = factors[p.factors_offset + row / p.each] * input[p.input_offset4 + row * p.input_stride4 + i];
  if RESIDUAL {
    value += residual[p.residual_offset4 + row * p.residual_stride4 + i];
  }
  output[p.output_offset4 + row * p.output_stride4 + i] = value;
}
