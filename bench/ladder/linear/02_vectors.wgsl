// Linear, step 2: vectors. One invocation computes four neighbouring columns.
//
// Changed:   every load brings 16 bytes, and each input value is used for four columns.
// Predicted: per four steps of depth 1 input and 4 weight vectors, 80 bytes for 32 operations: 2.5 bytes an operation
//            instead of 4, and 5 load instructions instead of the 32 that four columns took. Where instructions are the
//            limit up to 6 times as fast, where bytes are 1.6 times.
// Lesson:    a wide load costs what a narrow one costs, and what is loaded should be used more than once
// Workgroup memory: none. Accepts depth and cols that are multiples of 4, as all steps from here on.

struct Parameters {
  rows: u32,
  depth: u32,
  cols: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(16, 16)
fn linear(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y;
  let col4 = id.x;
  let depth4 = p.depth / 4;
  let cols4 = p.cols / 4;
  if row >= p.rows || col4 >= cols4 {
    return;
  }
  var sum = bias[col4];
  for (var k4 = 0u; k4 < depth4; k4++) {
    let at = 4 * k4 * cols4 + col4;
    let w = mat4x4f(weight[at], weight[at + cols4], weight[at + 2 * cols4], weight[at + 3 * cols4]);
    sum += w * input[row * depth4 + k4];
  }
  output[row * cols4 + col4] = sum;
}
