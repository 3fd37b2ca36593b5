// Multi-head attention, backward pass to queries, and what the backward pass to keys and values needs of every query.
// FlashAttention-2's backward pass (Dao 2023, algorithm 2), over queries first: nothing of tokens × tokens is kept.
//
//   S = q · kᵀ    L = log Σ_j exp(S_j)    P = exp(S - L)    D = do · o    dS = P ∘ (do · vᵀ - D)    dq = scale · dS · k
//
// The scale 1/√d is in q already, so S is the scores themselves; `scale` makes dq the gradient of q before it.
// `sequences[s]` = (first row of s among the queries, first row of the context that it attends to).
// query   [rows, stride] elem, heads side by side at query_offset4       context [rows, stride] elem, keys and values
// output, output_gradient [sequences · tokens, stride] elem, as the forward kernel wrote o: row s · tokens + t
// query_gradient [rows, stride] elem at query_gradient_offset4, in the rows of the queries; a row that two sequences read would be
//         written twice, so every sequence must have queries of its own
// statistics [sequences · tokens, heads] f32 pairs (L, D)                HEAD4: vec4s of a head, zero-padded
//
// One workgroup: 4 · BLOCKS queries of one head of one sequence, over tiles of KEYS keys, BLOCKS × LANES invocations. A block
// is 4 queries, kept as vectors over them. A first sweep over the keys finds L: each lane streams the keys that are its own
// and the lanes meet once at the end. The second has three steps a tile, a barrier between each:
//   1. keys and values to workgroup memory, widened, one vec4 apart so that lanes reading a column meet different banks;
//   2. dS: a lane takes a key and multiplies it with its block's 4 queries, and its value with their do;
//   3. dq: a lane takes one vec4 of columns of its block's queries, in registers, and runs over the tile's keys.
// Scores are computed in both sweeps: keeping them would take tokens · 16 · BLOCKS bytes.
// Workgroup memory: 16 · (8 · BLOCKS · HEAD4 + 2 · KEYS · (HEAD4 + 1) + BLOCKS · (KEYS + LANES)) bytes: 18.5 KB at d = 64.
// Generated in front: elem4, result4, HEAD4.

override BLOCKS: u32 = 4;
override LANES: u32 = 16; // at least HEAD4
override KEYS: u32 = 16;

struct Parameters {
  tokens: u32,
  query_offset4: u32,
  query_stride4: u32,
  key_offset4: u32,
  value_offset4: u32,
  context_stride4: u32,
  output_stride4: u32,
  query_gradient_offset4: u32,
  query_gradient_stride4: u32,
  /// The grid starts at this sequence.
  first_sequence: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> query: array<elem4>;
@group(0) @binding(1) var<storage, read> context: array<elem4>;
@group(0) @binding(2) var<storage, read> sequences: array<vec2u>;
@group(0) @binding(3) var<storage, read> output: array<elem4>;
@group(0) @binding(4) var<storage, read> output_gradient: array<elem4>;
@group(0) @binding(5) var<storage, read_write> query_gradient: array<result4>;
@group(0) @binding(6) var<storage, read_write> statistics: array<vec2f>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> queries: array<vec4f, 4 * BLOCKS * HEAD4>;  // [query][column]
var<workgroup> gradients: array<vec4f, 4 * BLOCKS * HEAD4>;  // of the output, [query][column]
var<workgroup> keys: array<vec4f, KEYS * (HEAD4 + 1)>;  // [key][column]
var<workgroup> values: array<vec4f, KEYS * (HEAD4 + 1)>;
var<workgroup> weights: array<vec4f, BLOCKS * KEYS>;  // dS, [block][key], a vector over the block's queries
var<workgroup> shared_values: array<vec4f, BLOCKS * LANES>;

/// Scores of a block's queries and one key.
fn scores(block: u32, key: u32) -> vec4f {
  let q = 4 * block * HEAD4;
  let k = key * (HEAD4 + 1);
  var sum = vec4f();
  for (var c = 0u; c < HEAD4; c++) {
    let at = q + c;
    sum += keys[k + c] * mat4x4f(queries[at], queries[at + HEAD4], queries[at + 2 * HEAD4], queries[at + 3 * HEAD4]);
  }
  return sum;
}

/// dP: products of one value with the output's gradients of a block's queries.
fn weight_gradients(block: u32, key: u32) -> vec4f {
  let g = 4 * block * HEAD4;
  let v = key * (HEAD4 + 1);
  var sum = vec4f();
  for (var c = 0u; c < HEAD4; c++) {
    let at = g + c;
    sum += values[v + c] * mat4x4f(gradients[at], gradients[at + HEAD4], gradients[at + 2 * HEAD4], gradients[at + 3 * HEAD4]);
  }
  return sum;
}

/// Sum over the lanes of a block, in order; every invocation of the workgroup must call it.
fn block_sum(value: vec4f, index: u32, block: u32) -> vec4f {
  shared_values[index] = value;
  workgroupBarrier();
  var sum = vec4f();
  for (var lane = 0u; lane < LANES; lane++) {
    sum += shared_values[block * LANES + lane];
  }
  workgroupBarrier();
  return sum;
}

/// Maximum over the lanes of a block; every invocation of the workgroup must call it.
fn block_max(value: vec4f, index: u32, block: u32) -> vec4f {
  shared_values[index] = value;
  workgroupBarrier();
  var highest = value;
  for (var lane = 0u; lane < LANES; lane++) {
    highest = max(highest, shared_values[block * LANES + lane]);
  }
  workgroupBarrier();
  return highest;
}

/// What one vec4 of columns of this workgroup's query `own` adds to D.
fn output_product(sequence: u32, first: u32, own: u32, column: u32, head: u32) -> f32 {
  let row = sequence * p.tokens + min(first + own, p.tokens - 1);
  return dot(widen(output[row * p.output_stride4 + head + column]), gradients[own * HEAD4 + column]);
}

/// Stores what belongs to query t, if there is one.
fn store(t: u32, gradient: vec4f, log_sum: f32, product: f32, query_row: u32, group: vec3u, heads: u32, lane: u32) {
  if t >= p.tokens {
    return;
  }
  if lane < HEAD4 {
    let at = (query_row + t) * p.query_gradient_stride4 + p.query_gradient_offset4 + group.y * HEAD4 + lane;
    query_gradient[at] = to_result(p.scale * gradient);
  }
  if lane == 0 {
    statistics[((p.first_sequence + group.z) * p.tokens + t) * heads + group.y] = vec2f(log_sum, product);
  }
}

@compute @workgroup_size(BLOCKS * LANES)
fn differentiate_queries(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let width = BLOCKS * LANES;
  let block = index / LANES;
  let lane = index % LANES;
  let first = group.x * 4 * BLOCKS;
  let head = group.y * HEAD4;
  let sequence = p.first_sequence + group.z;
  let rows = sequences[sequence];

  // Rows past the end repeat the last one and are never stored.
  for (var i = index; i < 4 * BLOCKS * HEAD4; i += width) {
    let t = min(first + i / HEAD4, p.tokens - 1);
    let column = head + i % HEAD4;
    queries[i] = widen(query[(rows.x + t) * p.query_stride4 + p.query_offset4 + column]);
    gradients[i] = widen(output_gradient[(sequence * p.tokens + t) * p.output_stride4 + column]);
  }

  var highest = vec4f(-3.4e38);
  var total = vec4f();
  for (var tile = 0u; tile < p.tokens; tile += KEYS) {
    let count = min(KEYS, p.tokens - tile);
    for (var i = index; i < count * HEAD4; i += width) {
      let at = (rows.y + tile + i / HEAD4) * p.context_stride4 + head + i % HEAD4;
      keys[i / HEAD4 * (HEAD4 + 1) + i % HEAD4] = widen(context[at + p.key_offset4]);
    }
    workgroupBarrier();
    for (var key = lane; key < count; key += LANES) {
      let score = scores(block, key);
      let next = max(highest, score);
      total = total * exp(highest - next) + exp(score - next);
      highest = next;
    }
    workgroupBarrier();
  }
  let shift = block_max(highest, index, block);
  let log_sum = shift + log(block_sum(total * exp(highest - shift), index, block));

  var product = vec4f();
  for (var c = lane; c < HEAD4; c += LANES) {
    let own = 4 * block;
    product += vec4f(
      output_product(sequence, first, own, c, head),
      output_product(sequence, first, own + 1, c, head),
      output_product(sequence, first, own + 2, c, head),
      output_product(sequence, first, own + 3, c, head),
    );
  }
  product = block_sum(product, index, block);

  var dq = mat4x4f();
  for (var tile = 0u; tile < p.tokens; tile += KEYS) {
    let count = min(KEYS, p.tokens - tile);
    for (var i = index; i < count * HEAD4; i += width) {
      let at = (rows.y + tile + i / HEAD4) * p.context_stride4 + head + i % HEAD4;
      let to = i / HEAD4 * (HEAD4 + 1) + i % HEAD4;
      keys[to] = widen(context[at + p.key_offset4]);
      values[to] = widen(context[at + p.value_offset4]);
    }
    workgroupBarrier();
    for (var key = lane; key < count; key += LANES) {
      weights[block * KEYS + key] = exp(scores(block, key) - log_sum) * (weight_gradients(block, key) - product);
    }
    workgroupBarrier();
    if lane < HEAD4 {
      for (var key = 0u; key < count; key++) {
        let w = weights[block * KEYS + key];
        let k = keys[key * (HEAD4 + 1) + lane];
        dq += mat4x4f(w.x * k, w.y * k, w.z * k, w.w * k);
      }
    }
    workgroupBarrier();
  }

  let t = first + 4 * block;
  store(t, dq[0], log_sum.x, product.x, rows.x, group, groups.y, lane);
  store(t + 1, dq[1], log_sum.y, product.y, rows.x, group, groups.y, lane);
  store(t + 2, dq[2], log_sum.z, product.z, rows.x, group, groups.y, lane);
  store(t + 3, dq[3], log_sum.w, product.w, rows.x, group, groups.y, lane);
}
