// Linear layer, a GEMM with a fused epilogue, for software adapters: tiles in registers, inputs shared inside a quad.
//
// The mathematics, the layouts and the parameters are those of linear.wgsl.
//
// On a CPU a vector load is four scalar loads, one a lane, and workgroup memory is ordinary memory: what counts is how
// few loads feed a multiplication. One invocation keeps 16 rows × 8 columns in registers. The four lanes of a quad share
// the 16 rows, so each loads four of them and hands them round (quadBroadcast); the columns are the lane's own. Per four
// steps of depth: 4 + 8 vector loads for 128 vector multiply-adds. Loops are written out, since an index known only at run
// time turns a register into memory. A whole workgroup works on the same rows, so it does not matter how the adapter
// maps lanes to invocations. Measured on SwiftShader with two cores at 591 × 576 × 192: 5 to 6.5 GFLOP/s, against 2 to 3
// for 8 × 8 without quads and 0.4 for loops over arrays.
// Workgroup memory: none. Generated in front: elem4, result4; of parts/, linear_parameters, linear_rows or linear_windows,
// and an epilogue.

enable subgroups;

override WIDTH: u32 = 12;

@group(0) @binding(0) var<storage, read> input: array<elem4>;
@group(0) @binding(1) var<storage, read> weight: array<elem4>;
@group(0) @binding(4) var<storage, read_write> output: array<result4>;

fn store(sum: vec4f, row: u32, col4: u32, slice: u32) {
  var value = epilogue(sum, row, col4);
  if p.residual == 1 {
    value += of_result(output[slice * p.output_slice4 + residual_at(row, col4)]);
  }
  output[slice * p.output_slice4 + output_at(row, col4)] = to_result(value);
}

/// Four columns' worth of four steps of depth: times an input vector it gives the four columns' sums.
fn weight_block(at: u32) -> mat4x4f {
  let s = p.weight_stride4;
  return mat4x4f(widen(weight[at]), widen(weight[at + s]), widen(weight[at + 2 * s]), widen(weight[at + 3 * s]));
}

@compute @workgroup_size(WIDTH)
fn quad(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let row = group.y * 16;
  let col4 = 2 * (group.x * WIDTH + index);
  // Loads past the edge are repeated from inside it and their sums never stored.
  let weights = p.weight_offset4 + group.z * p.weight_slice4;
  let left = weights + min(col4, p.cols4 - 1);
  let right = weights + min(col4 + 1, p.cols4 - 1);
  let last = p.rows - 1;
  let own = row + lane % 4;
  let slice = group.z * p.input_slice4;
  let at0 = slice + input_row(min(own, last));
  let at1 = slice + input_row(min(own + 4, last));
  let at2 = slice + input_row(min(own + 8, last));
  let at3 = slice + input_row(min(own + 12, last));

  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f();
  var l4 = vec4f(); var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f();
  var l8 = vec4f(); var l9 = vec4f(); var l10 = vec4f(); var l11 = vec4f();
  var l12 = vec4f(); var l13 = vec4f(); var l14 = vec4f(); var l15 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f();
  var r4 = vec4f(); var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f();
  var r8 = vec4f(); var r9 = vec4f(); var r10 = vec4f(); var r11 = vec4f();
  var r12 = vec4f(); var r13 = vec4f(); var r14 = vec4f(); var r15 = vec4f();

  for (var k4 = 0u; k4 < p.depth4; k4++) {
    let column = input_column(k4);
    let a = widen(input[at0 + column]);
    let b = widen(input[at1 + column]);
    let c = widen(input[at2 + column]);
    let d = widen(input[at3 + column]);
    let wl = weight_block(left + 4 * k4 * p.weight_stride4);
    let wr = weight_block(right + 4 * k4 * p.weight_stride4);
    let x0 = quadBroadcast(a, 0u); l0 += wl * x0; r0 += wr * x0;
    let x1 = quadBroadcast(a, 1u); l1 += wl * x1; r1 += wr * x1;
    let x2 = quadBroadcast(a, 2u); l2 += wl * x2; r2 += wr * x2;
    let x3 = quadBroadcast(a, 3u); l3 += wl * x3; r3 += wr * x3;
    let x4 = quadBroadcast(b, 0u); l4 += wl * x4; r4 += wr * x4;
    let x5 = quadBroadcast(b, 1u); l5 += wl * x5; r5 += wr * x5;
    let x6 = quadBroadcast(b, 2u); l6 += wl * x6; r6 += wr * x6;
    let x7 = quadBroadcast(b, 3u); l7 += wl * x7; r7 += wr * x7;
    let x8 = quadBroadcast(c, 0u); l8 += wl * x8; r8 += wr * x8;
    let x9 = quadBroadcast(c, 1u); l9 += wl * x9; r9 += wr * x9;
    let x10 = quadBroadcast(c, 2u); l10 += wl * x10; r10 += wr * x10;
    let x11 = quadBroadcast(c, 3u); l11 += wl * x11; r11 += wr * x11;
    let x12 = quadBroadcast(d, 0u); l12 += wl * x12; r12 += wr * x12;
    let x13 = quadBroadcast(d, 1u); l13 += wl * x13; r13 += wr * x13;
    let x14 = quadBroadcast(d, 2u); l14 += wl * x14; r14 += wr * x14;
    let x15 = quadBroadcast(d, 3u); l15 += wl * x15; r15 += wr * x15;
  }

  // One copy of the epilogue: written out 32 times, it made the driver compile for seconds.
  var sums = array<vec4f, 32>(
    l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, l10, l11, l12, l13, l14, l15,
    r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15,
  );
  for (var i = 0u; i < 32; i++) {
    let m = row + i % 16;
    let n = col4 + i / 16;
    if m < p.rows && n < p.cols4 {
      store(sums[i], m, n, group.z);
    }
  }
}
