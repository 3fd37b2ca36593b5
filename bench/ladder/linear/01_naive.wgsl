// Linear, step 1: naive. One invocation computes one output.
//
//   output[m, n] = Σ_k input[m, k] · weight[k, n] + bias[n]
//   input [rows, depth], weight [depth, cols], bias [cols], output [rows, cols], f32
//
// Changed:   the start. Neighbours along x take neighbouring columns, so they read one input value and a run of weights.
// Predicted: two loads of 4 bytes for a multiplication and an addition, 4 bytes an operation. A GPU's caches serve a few
//            bytes a cycle to a lane that could compute as many operations, so loading is all it does.
// Lesson:    loading costs more than computing: two loads for every multiply-add
// Workgroup memory: none. Accepts any shape.

struct Parameters {
  rows: u32,
  depth: u32,
  cols: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(16, 16)
fn linear(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y;
  let col = id.x;
  if row >= p.rows || col >= p.cols {
    return;
  }
  var sum = bias[col];
  for (var k = 0u; k < p.depth; k++) {
    sum += input[row * p.depth + k] * weight[k * p.cols + col];
  }
  output[row * p.cols + col] = sum;
}
