// Multi-head scaled dot-product attention, forward, on matrix units: float16 in and out, scores and softmax in f32.
//
//   output[s, t, h, :] = Σ_j softmax_j(q[s, t, h] · k[s', j, h]) · v[s', j, h],     as attention.wgsl, with the same parameters
//
// query, context and output are float16, two to a word. A head is HEAD4 vec4s: 16, 32, 48 or 64 numbers; offsets and strides
// are multiples of 8. All keys are resident: KEY_TILES tiles of 16 cover the tokens.
//
// One workgroup: SUBGROUPS subgroups, each with 16 queries of one head of one sequence. A subgroup
//   1. multiplies its queries with every tile of keys, straight from storage, and puts the scores into workgroup memory;
//   2. takes the softmax in one pass, two lanes to a row, each over half of the tiles. exp(score - maximum) goes back as
//      float16 over the scores it came from (a lane never writes beyond what it has read), the rows' sums stay f32;
//   3. multiplies these weights with every tile of values, straight from storage;
//   4. divides by the rows' sums on the way out, by way of the same memory: fragments cannot be scaled row by row.
// The last tile of keys may reach past the sequence, so it is staged: keys repeat the last one and get weight zero, values
// are zero, since whatever lies behind the sequence may be infinite.
// Workgroup memory: SUBGROUPS · (16 · 16 · max(4·KEY_TILES + 1, HEAD4 + 1) + 128) + 256 · (HEAD4/2 + 1) bytes: 16.0 KB a
// subgroup at 197 tokens and heads of 64, 2.3 KB of them shared.
// Generated in front: HEAD4, SUBGROUPS, KEY_TILES; parts/attention_parameters.wgsl and parts/matrix_units.wgsl.

const THREADS = 32 * SUBGROUPS;
const HEAD8 = HEAD4 / 2;
/// Fragments along a head.
const HEAD16 = HEAD4 / 4;
/// Tiles of keys of the first of a row's two lanes.
const FIRST_TILES = (KEY_TILES + 1) / 2;
/// vec4us of a row: of scores, of queries, results or the last tile, padded against bank conflicts.
const SCORE_STRIDE = 4 * KEY_TILES + 1;
const FLOAT16_STRIDE = HEAD8 + 1;
const RESULT_STRIDE = HEAD4 + 1;
const SCORES4 = 16 * max(SCORE_STRIDE, RESULT_STRIDE);
const TAIL = SUBGROUPS * SCORES4;
const STAGING4 = TAIL + 16 * FLOAT16_STRIDE;
const LOWEST = -3.4e38;
const_assert HEAD4 % 4 == 0 && HEAD4 <= 16;

alias Staging = array<vec4u, STAGING4>;

@group(0) @binding(0) var<storage, read> query: array<vec4u>;
@group(0) @binding(1) var<storage, read> context: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4u>;

var<workgroup> staging: Staging;
/// What the two lanes of a row tell each other.
var<workgroup> lanes: array<f32, THREADS>;

fn largest(v: vec4f) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

/// Place of a tile of weights: each lane's run of them starts where its run of scores did.
fn weight_tile(tile: u32) -> u32 {
  return select(2 * tile + 2 * FIRST_TILES, 2 * tile, tile < FIRST_TILES);
}

@compute @workgroup_size(THREADS)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  matrix_begin(index);
  let lane = index % 32;
  let subgroup = index / 32;
  let own = subgroup * SCORES4;
  let first = (group.x * SUBGROUPS + subgroup) * 16;
  let last = p.tokens - 1;
  let sequence = p.first_sequence + group.z;
  let rows = sequences[sequence];
  let head8 = group.y * HEAD8;
  let stride8 = p.context_stride4 / 2;
  let keys = rows.y * stride8 + p.key_offset4 / 2 + head8;
  let values = rows.y * stride8 + p.value_offset4 / 2 + head8;
  let tail_key = 16 * (KEY_TILES - 1);

  for (var i = lane; i < 16 * HEAD8; i += 32) {
    let row = rows.x + min(first + i / HEAD8, last);
    staging[own + i / HEAD8 * FLOAT16_STRIDE + i % HEAD8] = query[(row * p.query_stride4 + p.query_offset4) / 2 + head8 + i % HEAD8];
  }
  for (var i = index; i < 16 * HEAD8; i += THREADS) {
    staging[TAIL + i / HEAD8 * FLOAT16_STRIDE + i % HEAD8] = context[keys + min(tail_key + i / HEAD8, last) * stride8 + i % HEAD8];
  }
  workgroupBarrier();
  let q0 = load_left(&staging, own, FLOAT16_STRIDE);
  var q1: Left; var q2: Left; var q3: Left;
  if HEAD16 > 1 { q1 = load_left(&staging, own + 2, FLOAT16_STRIDE); }
  if HEAD16 > 2 { q2 = load_left(&staging, own + 4, FLOAT16_STRIDE); }
  if HEAD16 > 3 { q3 = load_left(&staging, own + 6, FLOAT16_STRIDE); }
  workgroupBarrier();

  for (var tile = 0u; tile < KEY_TILES - 1; tile++) {
    let at = keys + 16 * tile * stride8;
    var s = multiply_add(q0, load_right_stored_transposed(&context, at, stride8), Sum());
    if HEAD16 > 1 { s = multiply_add(q1, load_right_stored_transposed(&context, at + 2, stride8), s); }
    if HEAD16 > 2 { s = multiply_add(q2, load_right_stored_transposed(&context, at + 4, stride8), s); }
    if HEAD16 > 3 { s = multiply_add(q3, load_right_stored_transposed(&context, at + 6, stride8), s); }
    store_sum(&staging, own + 4 * tile, s, SCORE_STRIDE);
  }
  var s = multiply_add(q0, load_right_transposed(&staging, TAIL, FLOAT16_STRIDE), Sum());
  if HEAD16 > 1 { s = multiply_add(q1, load_right_transposed(&staging, TAIL + 2, FLOAT16_STRIDE), s); }
  if HEAD16 > 2 { s = multiply_add(q2, load_right_transposed(&staging, TAIL + 4, FLOAT16_STRIDE), s); }
  if HEAD16 > 3 { s = multiply_add(q3, load_right_transposed(&staging, TAIL + 6, FLOAT16_STRIDE), s); }
  store_sum(&staging, own + 4 * (KEY_TILES - 1), s, SCORE_STRIDE);
  workgroupBarrier();

  for (var i = index; i < 16 * HEAD8; i += THREADS) {
    let key = tail_key + i / HEAD8;
    var value = vec4u();
    if key < p.tokens {
      value = context[values + key * stride8 + i % HEAD8];
    }
    staging[TAIL + i / HEAD8 * FLOAT16_STRIDE + i % HEAD8] = value;
  }

  // In vec4s of the row: this lane's first, and the one behind its last.
  let row = own + lane / 2 * SCORE_STRIDE;
  let begin = select(0u, 4 * FIRST_TILES, lane % 2 == 1);
  let end = select(4 * FIRST_TILES, 4 * KEY_TILES, lane % 2 == 1);
  var highest = vec4f(LOWEST);
  for (var i = begin; i < end; i++) {
    let inside = vec4u(4 * i) + vec4u(0, 1, 2, 3) < vec4u(p.tokens);
    highest = max(highest, select(vec4f(LOWEST), bitcast<vec4f>(staging[row + i]), inside));
  }
  lanes[index] = largest(highest);
  workgroupBarrier();
  let shift = max(lanes[index], lanes[index ^ 1]);
  workgroupBarrier();
  var total = vec4f();
  for (var i = begin; i < end; i += 2) {
    let key = vec4u(4 * i) + vec4u(0, 1, 2, 3);
    let a = select(vec4f(), exp(bitcast<vec4f>(staging[row + i]) - shift), key < vec4u(p.tokens));
    let b = select(vec4f(), exp(bitcast<vec4f>(staging[row + i + 1]) - shift), key + 4 < vec4u(p.tokens));
    total += a + b;
    staging[row + begin + (i - begin) / 2] =
      vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
  }
  lanes[index] = total.x + total.y + total.z + total.w;
  workgroupBarrier();

  var o0: Sum; var o1: Sum; var o2: Sum; var o3: Sum;
  for (var tile = 0u; tile < KEY_TILES - 1; tile++) {
    let weights = load_left(&staging, own + weight_tile(tile), SCORE_STRIDE);
    let at = values + 16 * tile * stride8;
    o0 = multiply_add(weights, load_right_stored(&context, at, stride8), o0);
    if HEAD16 > 1 { o1 = multiply_add(weights, load_right_stored(&context, at + 2, stride8), o1); }
    if HEAD16 > 2 { o2 = multiply_add(weights, load_right_stored(&context, at + 4, stride8), o2); }
    if HEAD16 > 3 { o3 = multiply_add(weights, load_right_stored(&context, at + 6, stride8), o3); }
  }
  let weights = load_left(&staging, own + weight_tile(KEY_TILES - 1), SCORE_STRIDE);
  o0 = multiply_add(weights, load_right(&staging, TAIL, FLOAT16_STRIDE), o0);
  if HEAD16 > 1 { o1 = multiply_add(weights, load_right(&staging, TAIL + 2, FLOAT16_STRIDE), o1); }
  if HEAD16 > 2 { o2 = multiply_add(weights, load_right(&staging, TAIL + 4, FLOAT16_STRIDE), o2); }
  if HEAD16 > 3 { o3 = multiply_add(weights, load_right(&staging, TAIL + 6, FLOAT16_STRIDE), o3); }
  workgroupBarrier();

  store_sum(&staging, own, o0, RESULT_STRIDE);
  if HEAD16 > 1 { store_sum(&staging, own + 4, o1, RESULT_STRIDE); }
  if HEAD16 > 2 { store_sum(&staging, own + 8, o2, RESULT_STRIDE); }
  if HEAD16 > 3 { store_sum(&staging, own + 12, o3, RESULT_STRIDE); }
  workgroupBarrier();
  for (var i = lane; i < 16 * HEAD8; i += 32) {
    let t = first + i / HEAD8;
    if t < p.tokens {
      let pair = subgroup * 32 + 2 * (i / HEAD8);
      let total = lanes[pair] + lanes[pair + 1];
      let at = own + i / HEAD8 * RESULT_STRIDE + 2 * (i % HEAD8);
      let a = bitcast<vec4f>(staging[at]) / total;
      let b = bitcast<vec4f>(staging[at + 1]) / total;
      output[(sequence * p.tokens + t) * p.output_stride4 / 2 + head8 + i % HEAD8] =
        vec4u(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
    }
  }
}
