// Linear, step 8: matrix units, straight from storage. Each of four subgroups computes 16 × 16 outputs.
//
// Changed:   the multiply-adds of 16 × 16 × 16 float16 are one instruction of 32 lanes (kernels/parts/matrix_units.wgsl; in
//            plain WGSL where there are no such units). Operands are float16, eight to a vec4u, sums f32. No single number of
//            a fragment can be reached, so the bias is added on the way out, through workgroup memory.
// Predicted: 1 KB of operands for 8 192 operations, 0.125 bytes an operation from storage and its caches: 22 GB for
//            37 824 × 768 × 3072. A cache of 5 TB/s takes 4.5 ms for them, 40 TFLOP/s, a few percent of what the units
//            of a data-centre GPU can do.
// Lesson:    a faster multiplier only moves the wall: one fragment loaded is one fragment used, and loading is the limit
// Workgroup memory: 4 KB. Accepts depth and cols that are multiples of 16; rows behind the input must be readable up to 16.
// In front: kernels/parts/matrix_units.wgsl or matrix_emulation.wgsl.

struct Parameters {
  rows: u32,
  depth: u32,
  cols: u32,
}

alias Staging = array<vec4u, 256>;  // for each subgroup 16 rows of 16 f32

@group(0) @binding(0) var<storage, read> input: array<vec4u>;
@group(0) @binding(1) var<storage, read> weight: array<vec4u>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4u>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> staging: Staging;

@compute @workgroup_size(128)
fn linear(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  matrix_begin(index);
  let depth8 = p.depth / 8;
  let cols8 = p.cols / 8;
  let first_row = 16 * group.y;
  let first_col8 = 8 * group.x + index / 32 * 2;
  // A subgroup past the last column repeats it, unstored: it must reach the barrier with the others.
  let readable8 = min(first_col8, cols8 - 2);
  var sum: Sum;
  for (var k = 0u; k < p.depth; k += 16) {
    let left = load_left_stored(&input, first_row * depth8 + k / 8, depth8);
    let right = load_right_stored(&weight, k * cols8 + readable8, cols8);
    sum = multiply_add(left, right, sum);
  }

  // Lane i of a subgroup finishes eight columns of row i / 2.
  store_sum(&staging, index / 32 * 64, sum, 4);
  workgroupBarrier();
  let row = first_row + index % 32 / 2;
  let col8 = first_col8 + index % 2;
  if row < p.rows && col8 < cols8 {
    let a = bitcast<vec4f>(staging[2 * index]) + bias[2 * col8];
    let b = bitcast<vec4f>(staging[2 * index + 1]) + bias[2 * col8 + 1];
    output[row * cols8 + col8] = vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
  }
}
