// Multi-head attention, backward pass to keys and values, from the statistics of attention_backward_query.wgsl.
// FlashAttention-2's backward pass (Dao 2023, algorithm 2), over keys first: no atomics, and nothing of tokens × tokens is kept.
//
//   S = q · kᵀ    P = exp(S - L)    dS = P ∘ (do · vᵀ - D)    dk = Σ dSᵀ · q    dv = Σ Pᵀ · do    over all queries that read k, v
//
// q holds the scale 1/√d already, so dk needs none. `readers[c]` = (first row of context c, the sequence that reads it,
// a second that does, unused), 0xffffffff where there is none: a context that nobody reads gets zeros.
// `sequences[s]` = (first row of s among the queries, first row of the context that it attends to).
// query   [rows, stride] elem, heads side by side at query_offset4       context [rows, stride] elem, keys and values
// output_gradient [sequences · tokens, stride] elem, row s · tokens + t  statistics [sequences · tokens, heads] f32 pairs (L, D)
// context_gradient [rows, stride] elem, in the rows of the contexts, dk at key_gradient_offset4 and dv at value_gradient_offset4
// HEAD4: vec4s of a head, zero-padded
//
// One workgroup: 4 · BLOCKS keys of one head of one context, over tiles of QUERIES queries of one reader after the other,
// BLOCKS × LANES invocations. A block is 4 keys, kept as vectors over them. Steps, a barrier between each:
//   1. queries and do to workgroup memory, widened, one vec4 apart so that lanes reading a column meet different banks;
//   2. P and dS: a lane takes a query and multiplies it with its block's 4 keys, and its do with their values;
//   3. dk and dv: a lane takes one vec4 of columns of its block's keys, in registers, and runs over the tile's queries.
// Workgroup memory: 16 · (8 · BLOCKS · HEAD4 + 2 · QUERIES · (HEAD4 + 1 + BLOCKS)) + 8 · QUERIES bytes: 18.6 KB at d = 64.
// Generated in front: elem4, result4, HEAD4.

override BLOCKS: u32 = 4;
override LANES: u32 = 16; // at least HEAD4
override QUERIES: u32 = 16;

struct Parameters {
  tokens: u32,
  query_offset4: u32,
  query_stride4: u32,
  key_offset4: u32,
  value_offset4: u32,
  context_stride4: u32,
  output_stride4: u32,
  key_gradient_offset4: u32,
  value_gradient_offset4: u32,
  context_gradient_stride4: u32,
  /// The grid starts at this context.
  first_context: u32,
}

@group(0) @binding(0) var<storage, read> query: array<elem4>;
@group(0) @binding(1) var<storage, read> context: array<elem4>;
@group(0) @binding(2) var<storage, read> sequences: array<vec2u>;
@group(0) @binding(3) var<storage, read> readers: array<vec4u>;
@group(0) @binding(4) var<storage, read> output_gradient: array<elem4>;
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> context_gradient: array<result4>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> keys: array<vec4f, 4 * BLOCKS * HEAD4>;  // [key][column]
var<workgroup> values: array<vec4f, 4 * BLOCKS * HEAD4>;
var<workgroup> queries: array<vec4f, QUERIES * (HEAD4 + 1)>;  // [query][column]
var<workgroup> gradients: array<vec4f, QUERIES * (HEAD4 + 1)>;  // of the output, [query][column]
var<workgroup> log_sums: array<f32, QUERIES>;
var<workgroup> products: array<f32, QUERIES>;
var<workgroup> weights: array<vec4f, BLOCKS * QUERIES>;  // P, [block][query], a vector over the block's keys
var<workgroup> score_gradients: array<vec4f, BLOCKS * QUERIES>;  // dS

/// Scores of one query and a block's keys.
fn scores(block: u32, row: u32) -> vec4f {
  let k = 4 * block * HEAD4;
  let q = row * (HEAD4 + 1);
  var sum = vec4f();
  for (var c = 0u; c < HEAD4; c++) {
    let at = k + c;
    sum += queries[q + c] * mat4x4f(keys[at], keys[at + HEAD4], keys[at + 2 * HEAD4], keys[at + 3 * HEAD4]);
  }
  return sum;
}

/// dP: products of the output's gradient of one query with a block's values.
fn weight_gradients(block: u32, row: u32) -> vec4f {
  let v = 4 * block * HEAD4;
  let g = row * (HEAD4 + 1);
  var sum = vec4f();
  for (var c = 0u; c < HEAD4; c++) {
    let at = v + c;
    sum += gradients[g + c] * mat4x4f(values[at], values[at + HEAD4], values[at + 2 * HEAD4], values[at + 3 * HEAD4]);
  }
  return sum;
}

/// Stores what belongs to key t, if there is one.
fn store(t: u32, key_gradient: vec4f, value_gradient: vec4f, context_row: u32, column: u32) {
  if t < p.tokens {
    let at = (context_row + t) * p.context_gradient_stride4 + column;
    context_gradient[at + p.key_gradient_offset4] = to_result(key_gradient);
    context_gradient[at + p.value_gradient_offset4] = to_result(value_gradient);
  }
}

@compute @workgroup_size(BLOCKS * LANES)
fn differentiate_contexts(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let width = BLOCKS * LANES;
  let block = index / LANES;
  let lane = index % LANES;
  let first = group.x * 4 * BLOCKS;
  let head = group.y * HEAD4;
  let reader = readers[p.first_context + group.z];

  // Rows past the end repeat the last one and are never stored.
  for (var i = index; i < 4 * BLOCKS * HEAD4; i += width) {
    let at = (reader.x + min(first + i / HEAD4, p.tokens - 1)) * p.context_stride4 + head + i % HEAD4;
    keys[i] = widen(context[at + p.key_offset4]);
    values[i] = widen(context[at + p.value_offset4]);
  }

  var dk = mat4x4f();
  var dv = mat4x4f();
  for (var r = 0u; r < 2; r++) {
    let sequence = select(reader.y, reader.z, r == 1);
    if sequence == 0xffffffffu {
      continue;
    }
    let query_row = sequences[sequence].x;
    for (var tile = 0u; tile < p.tokens; tile += QUERIES) {
      let count = min(QUERIES, p.tokens - tile);
      let output_row = sequence * p.tokens + tile;
      for (var i = index; i < count * HEAD4; i += width) {
        let row = i / HEAD4;
        let column = head + i % HEAD4;
        let to = row * (HEAD4 + 1) + i % HEAD4;
        queries[to] = widen(query[(query_row + tile + row) * p.query_stride4 + p.query_offset4 + column]);
        gradients[to] = widen(output_gradient[(output_row + row) * p.output_stride4 + column]);
      }
      for (var row = index; row < count; row += width) {
        let pair = statistics[(output_row + row) * groups.y + group.y];
        log_sums[row] = pair.x;
        products[row] = pair.y;
      }
      workgroupBarrier();
      for (var row = lane; row < count; row += LANES) {
        let w = exp(scores(block, row) - log_sums[row]);
        weights[block * QUERIES + row] = w;
        score_gradients[block * QUERIES + row] = w * (weight_gradients(block, row) - products[row]);
      }
      workgroupBarrier();
      if lane < HEAD4 {
        for (var row = 0u; row < count; row++) {
          let s = score_gradients[block * QUERIES + row];
          let q = queries[row * (HEAD4 + 1) + lane];
          dk += mat4x4f(s.x * q, s.y * q, s.z * q, s.w * q);
          let w = weights[block * QUERIES + row];
          let g = gradients[row * (HEAD4 + 1) + lane];
          dv += mat4x4f(w.x * g, w.y * g, w.z * g, w.w * g);
        }
      }
      workgroupBarrier();
    }
  }

  if lane < HEAD4 {
    let t = first + 4 * block;
    let column = head + lane;
    store(t, dk[0], dv[0], reader.x, column);
    store(t + 1, dk[1], dv[1], reader.x, column);
    store(t + 2, dk[2], dv[2], reader.x, column);
    store(t + 3, dk[3], dv[3], reader.x, column);
  }
}
