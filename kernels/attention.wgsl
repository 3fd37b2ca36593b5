// Multi-head scaled dot-product attention, forward (Vaswani et al. 2017): self and cross, softmax in f32.
//
//   output[s, t, h, :] = Σ_j softmax_j(q[s, t, h] · k[s', j, h]) · v[s', j, h]
//
// The scale 1/√d is folded into q's matrix. `sequences[s]` = (first row of s among the queries, first row of the
// context it attends to), so self-attention, cross-attention and a bank of contexts are one kernel.
// query   [rows, stride] elem, heads side by side at query_offset4       context [rows, stride] elem, keys and values
// output  [sequences · tokens, heads · 4 · HEAD4] elem                   HEAD4: vec4s of a head, zero-padded
//
// One workgroup: 16 queries of one head of one sequence and COLS4 vec4s of the result, over tiles of KEYS keys. Where
// KEYS ≥ tokens all keys are resident and the softmax is one pass; beyond that it is the streaming softmax of
// Milakov and Gimelshein (2018), as in FlashAttention. Steps, a barrier between each:
//   1. scores: an invocation takes a key and multiplies it with 4 blocks of 4 queries;
//   2. softmax: per block of 4 queries, the maximum over the tile (a tree), then exp in place;
//   3. values: an invocation takes 4 queries × 4 columns and runs over the keys; the sum of weights runs with it.
// Scores are kept as [key][block] vectors over 4 queries, so that both matrix multiplications read and write whole vectors.
// Workgroup memory: 16 · (16 · HEAD4 + 4 · KEYS + WIDTH + 8) bytes: 18.6 KB at d = 64, KEYS = 208.
// Generated in front: elem4, result4, HEAD4; parts/attention_parameters.wgsl.

override WIDTH: u32 = 64;
override KEYS: u32 = 208;
override COLS4: u32 = 16;

@group(0) @binding(0) var<storage, read> query: array<elem4>;
@group(0) @binding(1) var<storage, read> context: array<elem4>;
@group(0) @binding(3) var<storage, read_write> output: array<result4>;

var<workgroup> queries: array<vec4f, 16 * HEAD4>;  // [block][dimension], a vector over the block's 4 queries
var<workgroup> scores: array<vec4f, 4 * KEYS>;  // [key][block]
var<workgroup> reduced: array<vec4f, WIDTH>;
var<workgroup> maximum: array<vec4f, 4>;
var<workgroup> rescale: array<vec4f, 4>;

fn query_block(at: u32) -> mat4x4f {
  return mat4x4f(queries[at], queries[at + 1], queries[at + 2], queries[at + 3]);
}

@compute @workgroup_size(WIDTH)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let slices = (HEAD4 + COLS4 - 1) / COLS4;
  let first = (group.x / slices) * 16;
  let slice = group.x % slices;
  let head = group.y * HEAD4;
  let sequence = p.first_sequence + group.z;
  let rows = sequences[sequence];

  // Queries, transposed: rows past the end repeat the last one and are never stored.
  for (var i = index; i < 4 * HEAD4; i += WIDTH) {
    let block = i / HEAD4;
    let c = i % HEAD4;
    let column = p.query_offset4 + head + c;
    let t = first + 4 * block;
    let last = p.tokens - 1;
    let transposed = transpose(mat4x4f(
      widen(query[(rows.x + min(t, last)) * p.query_stride4 + column]),
      widen(query[(rows.x + min(t + 1, last)) * p.query_stride4 + column]),
      widen(query[(rows.x + min(t + 2, last)) * p.query_stride4 + column]),
      widen(query[(rows.x + min(t + 3, last)) * p.query_stride4 + column]),
    ));
    let at = 4 * (block * HEAD4 + c);
    queries[at] = transposed[0];
    queries[at + 1] = transposed[1];
    queries[at + 2] = transposed[2];
    queries[at + 3] = transposed[3];
  }
  if index < 4 {
    maximum[index] = vec4f(-3.4e38);
  }
  workgroupBarrier();

  let block = index / COLS4;
  let column = slice * COLS4 + index % COLS4;
  let working = block < 4 && column < HEAD4;
  var o0 = vec4f();
  var o1 = vec4f();
  var o2 = vec4f();
  var o3 = vec4f();
  var total = vec4f();

  for (var tile = 0u; tile < p.tokens; tile += KEYS) {
    let count = min(KEYS, p.tokens - tile);
    let context_row = rows.y + tile;

    for (var key = index; key < count; key += WIDTH) {
      let at = (context_row + key) * p.context_stride4 + p.key_offset4 + head;
      var s0 = vec4f();
      var s1 = vec4f();
      var s2 = vec4f();
      var s3 = vec4f();
      for (var c = 0u; c < HEAD4; c++) {
        let k = widen(context[at + c]);
        s0 += query_block(4 * c) * k;
        s1 += query_block(4 * (HEAD4 + c)) * k;
        s2 += query_block(4 * (2 * HEAD4 + c)) * k;
        s3 += query_block(4 * (3 * HEAD4 + c)) * k;
      }
      scores[4 * key] = s0;
      scores[4 * key + 1] = s1;
      scores[4 * key + 2] = s2;
      scores[4 * key + 3] = s3;
    }
    workgroupBarrier();

    // Index modulo 4 is the block: neighbouring invocations read neighbouring vectors.
    var highest = vec4f(-3.4e38);
    for (var i = index; i < 4 * count; i += WIDTH) {
      highest = max(highest, scores[i]);
    }
    reduced[index] = highest;
    workgroupBarrier();
    for (var half = WIDTH / 2; half >= 4; half /= 2) {
      if index < half {
        reduced[index] = max(reduced[index], reduced[index + half]);
      }
      workgroupBarrier();
    }
    if index < 4 {
      let next = max(maximum[index], reduced[index]);
      rescale[index] = exp(maximum[index] - next);
      maximum[index] = next;
    }
    workgroupBarrier();
    let shift = maximum[index % 4];
    for (var i = index; i < 4 * count; i += WIDTH) {
      scores[i] = exp(scores[i] - shift);
    }
    workgroupBarrier();

    if working {
      let factor = rescale[block];
      o0 *= factor.x;
      o1 *= factor.y;
      o2 *= factor.z;
      o3 *= factor.w;
      total *= factor;
      var at = context_row * p.context_stride4 + p.value_offset4 + head + column;
      for (var key = 0u; key < count; key++) {
        let w = scores[4 * key + block];
        let v = widen(context[at]);
        at += p.context_stride4;
        total += w;
        o0 += w.x * v;
        o1 += w.y * v;
        o2 += w.z * v;
        o3 += w.w * v;
      }
    }
    workgroupBarrier();
  }

  if working {
    let t = first + 4 * block;
    let at = (sequence * p.tokens + t) * p.output_stride4 + head + column;
    if t < p.tokens {
      output[at] = to_result(o0 / total.x);
    }
    if t + 1 < p.tokens {
      output[at + p.output_stride4] = to_result(o1 / total.y);
    }
    if t + 2 < p.tokens {
      output[at + 2 * p.output_stride4] = to_result(o2 / total.z);
    }
    if t + 3 < p.tokens {
      output[at + 3 * p.output_stride4] = to_result(o3 / total.w);
    }
  }
}
