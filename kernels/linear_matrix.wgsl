// Linear layer, a GEMM with a fused epilogue, on matrix units: float16 in, f32 sums.
//
//   output[m, n] = epilogue(Σ_k input[m, k] · weight[k, n] + bias[n]),     as linear.wgsl, with the same parameters
//
// input [rows, depth] and weight [depth, cols] are float16, two to a word; the result is float16 or f32 (FLOAT16_RESULT). depth is
// a multiple of DEPTH, every other size, offset and stride a multiple of 8: other shapes go to linear.wgsl. Where rows are
// windows, channels are a multiple of DEPTH as well, so that a panel lies in one tap.
//
// One workgroup: a tile of 16·FM·SUB_M rows × 16·FN·SUB_N columns by SUB_M × SUB_N subgroups, each of which keeps FM × FN
// fragments of sums in registers (4 × 4 is 64 × 64: 128 registers a lane). Per panel of DEPTH steps both operands are staged in
// workgroup memory by 16-byte loads, coalesced along rows; the next panel is on its way in named registers (an array with
// an index would be memory) while this one is multiplied. Rows in workgroup memory are 16 bytes longer than their numbers,
// so that the eight rows of a fragment that are read at once lie in different banks. Loads past an edge repeat what lies
// inside it: rows and columns are clamped once, outside of the loop. Fragments cannot be read one number at a time, so sums
// leave by way of the staging memory, 16 rows of a subgroup at a time, and each lane finishes 8 columns of a row at once.
// Workgroup memory: 16 · max(16·FM·SUB_M·(DEPTH/8 + 1) + DEPTH·(2·FN·SUB_N + 1), SUB_M·SUB_N·16·(4·FN + 1)) bytes: 18.9 KB
// at 128 × 128 × 32.
// Arithmetic intensity at 128 × 128: 64 operations a byte of operands read, 128 a byte of workgroup memory by a subgroup.
// Generated in front: FLOAT16_RESULT, SUB_M, SUB_N, FM, FN (2 or 4 each), DEPTH (16 or 32); of parts/, matrix_units,
// linear_parameters, linear_rows or linear_windows, and an epilogue.

const THREADS = 32 * SUB_M * SUB_N;
const TILE_M = 16 * FM * SUB_M;
const TILE_N = 16 * FN * SUB_N;
/// vec4us of a staged row: of an input row's panel, of a step of depth of the weight, of a row of sums.
const INPUT_STRIDE = DEPTH / 8 + 1;
const WEIGHT_STRIDE = TILE_N / 8 + 1;
const SUM_STRIDE = 4 * FN + 1;
const INPUT4 = TILE_M * INPUT_STRIDE;
const WEIGHT4 = DEPTH * WEIGHT_STRIDE;
const SUM4 = 16 * SUM_STRIDE;
const STAGING4 = max(INPUT4 + WEIGHT4, SUB_M * SUB_N * SUM4);
/// 16-byte loads of an invocation for a panel.
const INPUT_LOADS = TILE_M * DEPTH / 8 / THREADS;
const WEIGHT_LOADS = DEPTH * TILE_N / 8 / THREADS;
const_assert INPUT_LOADS >= 1 && INPUT_LOADS <= 4 && INPUT_LOADS * THREADS * 8 == TILE_M * DEPTH;
const_assert WEIGHT_LOADS >= 1 && WEIGHT_LOADS <= 4 && WEIGHT_LOADS * THREADS * 8 == DEPTH * TILE_N;

alias Staging = array<vec4u, STAGING4>;

@group(0) @binding(0) var<storage, read> input: array<vec4u>;
@group(0) @binding(1) var<storage, read> weight: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> output: array<vec4u>;

var<workgroup> staging: Staging;

fn input_place(index: u32) -> u32 {
  return index / (DEPTH / 8) * INPUT_STRIDE + index % (DEPTH / 8);
}

fn input_source(index: u32, first_row: u32) -> u32 {
  let row = min(first_row + index / (DEPTH / 8), p.rows - 1);
  return input_row(row) / 2 + index % (DEPTH / 8);
}

fn weight_place(index: u32) -> u32 {
  return INPUT4 + index / (TILE_N / 8) * WEIGHT_STRIDE + index % (TILE_N / 8);
}

fn weight_source(index: u32, first_col8: u32) -> u32 {
  let col8 = min(first_col8 + index % (TILE_N / 8), p.cols4 / 2 - 1);
  return (p.weight_offset4 + index / (TILE_N / 8) * p.weight_stride4) / 2 + col8;
}

/// Finishes and writes 8 columns of a row.
fn store(low: vec4f, high: vec4f, row: u32, col4: u32, slice: u32) {
  var a = epilogue(low, row, col4);
  var b = epilogue(high, row, col4 + 1);
  let at = slice * p.output_slice4 + output_at(row, col4);
  if FLOAT16_RESULT {
    output[at / 2] = vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
  } else {
    if p.residual == 1 {
      let residual = slice * p.output_slice4 + residual_at(row, col4);
      a += bitcast<vec4f>(output[residual]);
      b += bitcast<vec4f>(output[residual + 1]);
    }
    output[at] = bitcast<vec4u>(a);
    output[at + 1] = bitcast<vec4u>(b);
  }
}

@compute @workgroup_size(THREADS)
fn matrix(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  matrix_begin(index);
  let lane = index % 32;
  let subgroup = index / 32;
  let sub_m = subgroup / SUB_N;
  let sub_n = subgroup % SUB_N;
  let first_row = group.y * TILE_M;
  let first_col8 = group.x * (TILE_N / 8);
  let inputs = group.z * p.input_slice4 / 2;
  let weights = group.z * p.weight_slice4 / 2;

  let input0 = inputs + input_source(index, first_row);
  let input1 = inputs + input_source(index + THREADS, first_row);
  let input2 = inputs + input_source(index + 2 * THREADS, first_row);
  let input3 = inputs + input_source(index + 3 * THREADS, first_row);
  var weight0 = weights + weight_source(index, first_col8);
  var weight1 = weights + weight_source(index + THREADS, first_col8);
  var weight2 = weights + weight_source(index + 2 * THREADS, first_col8);
  var weight3 = weights + weight_source(index + 3 * THREADS, first_col8);
  let weight_step = DEPTH * p.weight_stride4 / 2;

  var a0 = input[input0];
  var a1: vec4u; var a2: vec4u; var a3: vec4u;
  if INPUT_LOADS > 1 { a1 = input[input1]; }
  if INPUT_LOADS > 2 { a2 = input[input2]; a3 = input[input3]; }
  var b0 = weight[weight0];
  var b1: vec4u; var b2: vec4u; var b3: vec4u;
  if WEIGHT_LOADS > 1 { b1 = weight[weight1]; }
  if WEIGHT_LOADS > 2 { b2 = weight[weight2]; b3 = weight[weight3]; }

  var s00: Sum; var s01: Sum; var s02: Sum; var s03: Sum;
  var s10: Sum; var s11: Sum; var s12: Sum; var s13: Sum;
  var s20: Sum; var s21: Sum; var s22: Sum; var s23: Sum;
  var s30: Sum; var s31: Sum; var s32: Sum; var s33: Sum;

  let panels = 4 * p.depth4 / DEPTH;
  for (var panel = 0u; panel < panels; panel++) {
    staging[input_place(index)] = a0;
    if INPUT_LOADS > 1 { staging[input_place(index + THREADS)] = a1; }
    if INPUT_LOADS > 2 {
      staging[input_place(index + 2 * THREADS)] = a2;
      staging[input_place(index + 3 * THREADS)] = a3;
    }
    staging[weight_place(index)] = b0;
    if WEIGHT_LOADS > 1 { staging[weight_place(index + THREADS)] = b1; }
    if WEIGHT_LOADS > 2 {
      staging[weight_place(index + 2 * THREADS)] = b2;
      staging[weight_place(index + 3 * THREADS)] = b3;
    }
    workgroupBarrier();

    // The next panel sets out now and arrives while this one is multiplied.
    if panel + 1 < panels {
      let column = input_column((panel + 1) * (DEPTH / 4)) / 2;
      weight0 += weight_step;
      a0 = input[input0 + column];
      b0 = weight[weight0];
      if INPUT_LOADS > 1 { a1 = input[input1 + column]; }
      if INPUT_LOADS > 2 { a2 = input[input2 + column]; a3 = input[input3 + column]; }
      if WEIGHT_LOADS > 1 { weight1 += weight_step; b1 = weight[weight1]; }
      if WEIGHT_LOADS > 2 { weight2 += weight_step; b2 = weight[weight2]; weight3 += weight_step; b3 = weight[weight3]; }
    }

    for (var k = 0u; k < DEPTH / 16; k++) {
      let left = sub_m * FM * 16 * INPUT_STRIDE + 2 * k;
      let right = INPUT4 + 16 * k * WEIGHT_STRIDE + sub_n * FN * 2;
      let l0 = load_left(&staging, left, INPUT_STRIDE);
      let l1 = load_left(&staging, left + 16 * INPUT_STRIDE, INPUT_STRIDE);
      var l2: Left; var l3: Left;
      if FM > 2 {
        l2 = load_left(&staging, left + 32 * INPUT_STRIDE, INPUT_STRIDE);
        l3 = load_left(&staging, left + 48 * INPUT_STRIDE, INPUT_STRIDE);
      }
      let r0 = load_right(&staging, right, WEIGHT_STRIDE);
      s00 = multiply_add(l0, r0, s00); s10 = multiply_add(l1, r0, s10);
      if FM > 2 { s20 = multiply_add(l2, r0, s20); s30 = multiply_add(l3, r0, s30); }
      let r1 = load_right(&staging, right + 2, WEIGHT_STRIDE);
      s01 = multiply_add(l0, r1, s01); s11 = multiply_add(l1, r1, s11);
      if FM > 2 { s21 = multiply_add(l2, r1, s21); s31 = multiply_add(l3, r1, s31); }
      if FN > 2 {
        let r2 = load_right(&staging, right + 4, WEIGHT_STRIDE);
        s02 = multiply_add(l0, r2, s02); s12 = multiply_add(l1, r2, s12);
        if FM > 2 { s22 = multiply_add(l2, r2, s22); s32 = multiply_add(l3, r2, s32); }
        let r3 = load_right(&staging, right + 6, WEIGHT_STRIDE);
        s03 = multiply_add(l0, r3, s03); s13 = multiply_add(l1, r3, s13);
        if FM > 2 { s23 = multiply_add(l2, r3, s23); s33 = multiply_add(l3, r3, s33); }
      }
    }
    workgroupBarrier();
  }

  // A row of fragments at a time. The branches are uniform; one copy of what follows them keeps the driver's compiler quick.
  let scratch = subgroup * SUM4;
  for (var m = 0u; m < FM; m++) {
    if m == 0 {
      store_sum(&staging, scratch, s00, SUM_STRIDE);
      store_sum(&staging, scratch + 4, s01, SUM_STRIDE);
      if FN > 2 { store_sum(&staging, scratch + 8, s02, SUM_STRIDE); store_sum(&staging, scratch + 12, s03, SUM_STRIDE); }
    } else if m == 1 {
      store_sum(&staging, scratch, s10, SUM_STRIDE);
      store_sum(&staging, scratch + 4, s11, SUM_STRIDE);
      if FN > 2 { store_sum(&staging, scratch + 8, s12, SUM_STRIDE); store_sum(&staging, scratch + 12, s13, SUM_STRIDE); }
    } else if m == 2 {
      store_sum(&staging, scratch, s20, SUM_STRIDE);
      store_sum(&staging, scratch + 4, s21, SUM_STRIDE);
      if FN > 2 { store_sum(&staging, scratch + 8, s22, SUM_STRIDE); store_sum(&staging, scratch + 12, s23, SUM_STRIDE); }
    } else {
      store_sum(&staging, scratch, s30, SUM_STRIDE);
      store_sum(&staging, scratch + 4, s31, SUM_STRIDE);
      if FN > 2 { store_sum(&staging, scratch + 8, s32, SUM_STRIDE); store_sum(&staging, scratch + 12, s33, SUM_STRIDE); }
    }
    workgroupBarrier();
    for (var i = lane; i < 32 * FN; i += 32) {
      let row = first_row + (sub_m * FM + m) * 16 + i / (2 * FN);
      let col4 = 2 * (first_col8 + sub_n * FN * 2 + i % (2 * FN));
      let at = scratch + i / (2 * FN) * SUM_STRIDE + 2 * (i % (2 * FN));
      if row < p.rows && col4 < p.cols4 {
        store(bitcast<vec4f>(staging[at]), bitcast<vec4f>(staging[at + 1]), row, col4, group.z);
      }
    }
    workgroupBarrier();
  }
}
