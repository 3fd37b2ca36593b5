// Linear, step 6: float16 in storage. Half the bytes, the arithmetic as before.
//
// Changed:   input, weight and output are 16-bit floats, two to a u32, which need no feature: unpack2x16float widens them on
//            their way into the tile, once a value, and pack2x16float narrows the results. Sums stay f32.
// Predicted: storage moves half as much: 37 824 × 768 × 3072 takes 295 MB once instead of 590 MB. The inner loop is that of
//            step 5 to the letter, so a kernel that waits for workgroup memory or arithmetic gains little.
// Lesson:    half the bytes help only as far as storage was the limit; the tile must shrink too, as matrix units' does
// Workgroup memory: 8 KB.

struct Parameters {
  rows: u32,
  depth: u32,
  cols: u32,
}

@group(0) @binding(0) var<storage, read> input: array<vec2u>;
@group(0) @binding(1) var<storage, read> weight: array<vec2u>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec2u>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> input_tile: array<vec4f, 256>;  // [row 128][depth 2 × 4]
var<workgroup> weight_tile: array<vec4f, 256>;  // [depth 8][column 32 × 4]

fn widen(packed: vec2u) -> vec4f {
  return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn narrow(value: vec4f) -> vec2u {
  return vec2u(pack2x16float(value.xy), pack2x16float(value.zw));
}

fn store(row: u32, col4: u32, sum: vec4f) {
  if row < p.rows && 4 * col4 < p.cols {
    output[row * (p.cols / 4) + col4] = narrow(sum + bias[col4]);
  }
}

fn weight_block(at: u32) -> mat4x4f {
  return mat4x4f(weight_tile[at], weight_tile[at + 32], weight_tile[at + 64], weight_tile[at + 96]);
}

@compute @workgroup_size(16, 16)
fn linear(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let depth4 = p.depth / 4;
  let cols4 = p.cols / 4;
  let row = 128 * group.y + 8 * local.y;
  let left = 32 * group.x + local.x;
  let right = left + 16;
  let staged_row = 128 * group.y + index / 2;
  let staged_col4 = 32 * group.x + index % 32;
  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f();
  var l4 = vec4f(); var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f();
  var r4 = vec4f(); var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f();

  for (var panel = 0u; panel < depth4; panel += 2) {
    let k4 = panel + index % 2;
    let k = 4 * panel + index / 32;
    var x = vec2u();
    var y = vec2u();
    if staged_row < p.rows && k4 < depth4 {
      x = input[staged_row * depth4 + k4];
    }
    if k < p.depth && staged_col4 < cols4 {
      y = weight[k * cols4 + staged_col4];
    }
    input_tile[index] = widen(x);
    weight_tile[index] = widen(y);
    workgroupBarrier();

    for (var i = 0u; i < 2; i++) {
      let wl = weight_block(128 * i + local.x);
      let wr = weight_block(128 * i + local.x + 16);
      let at = 16 * local.y + i;
      let x0 = input_tile[at]; l0 += wl * x0; r0 += wr * x0;
      let x1 = input_tile[at + 2]; l1 += wl * x1; r1 += wr * x1;
      let x2 = input_tile[at + 4]; l2 += wl * x2; r2 += wr * x2;
      let x3 = input_tile[at + 6]; l3 += wl * x3; r3 += wr * x3;
      let x4 = input_tile[at + 8]; l4 += wl * x4; r4 += wr * x4;
      let x5 = input_tile[at + 10]; l5 += wl * x5; r5 += wr * x5;
      let x6 = input_tile[at + 12]; l6 += wl * x6; r6 += wr * x6;
      let x7 = input_tile[at + 14]; l7 += wl * x7; r7 += wr * x7;
    }
    workgroupBarrier();
  }

  store(row, left, l0); store(row, right, r0);
  store(row + 1, left, l1); store(row + 1, right, r1);
  store(row + 2, left, l2); store(row + 2, right, r2);
  store(row + 3, left, l3); store(row + 3, right, r3);
  store(row + 4, left, l4); store(row + 4, right, r4);
  store(row + 5, left, l5); store(row + 5, right, r5);
  store(row + 6, left, l6); store(row + 6, right, r6);
  store(row + 7, left, l7); store(row + 7, right, r7);
}
