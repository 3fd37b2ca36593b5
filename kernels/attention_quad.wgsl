// Multi-head scaled dot-product attention, forward, for software adapters: everything in registers, a quad to a block of queries.
//
// The mathematics, the layouts and the parameters are those of attention.wgsl; the softmax is the streaming one of
// Milakov and Gimelshein (2018), over tiles of 16 keys.
//
// On a CPU a barrier is a switch of context for every lane and workgroup memory is ordinary memory, so this kernel has
// neither. One workgroup is one quad, four lanes, and takes 8 queries of one head:
//   scores: a lane holds 4 of the tile's 16 keys and, for all 8 queries, a vector over those keys; queries are loaded two
//           a lane and handed round. Per vec4 of the head: 4 + 2 loads for 8 vector-matrix products.
//   values: a lane holds up to 4 vec4 columns of the result (a matrix a query) and the weights go round the
//           quad. Per 4 keys: 16 loads for 32 matrix-vector products.
// Measured on SwiftShader with two cores at T = 197, d = 64: 4 to 5 times as fast as attention.wgsl.
// Workgroup memory: none. Generated in front: elem4, result4, HEAD4 (vec4s of
// a head); parts/attention_parameters.wgsl.

enable subgroups;

@group(0) @binding(0) var<storage, read> query: array<elem4>;
@group(0) @binding(1) var<storage, read> context: array<elem4>;
@group(0) @binding(3) var<storage, read_write> output: array<result4>;

/// Columns of the result that one quad holds: 4 lanes × 4 vec4s. Wider heads are cut into slices.
const SLICE4 = 16u;
const LOWEST = -3.4e38;

fn highest(v: vec4f) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

fn sum(v: vec4f) -> f32 {
  return v.x + v.y + v.z + v.w;
}

fn quad_max(v: vec4f) -> vec4f {
  let pairs = max(v, quadSwapX(v));
  return max(pairs, quadSwapY(pairs));
}

fn quad_sum(v: vec4f) -> vec4f {
  let pairs = v + quadSwapX(v);
  return pairs + quadSwapY(pairs);
}

/// Column `column` of four keys' values; `rows` are their places in the context.
fn value_block(rows: vec4u, column: u32) -> mat4x4f {
  let at = rows + p.value_offset4 + min(column, p.output_stride4 - 1);
  return mat4x4f(widen(context[at.x]), widen(context[at.y]), widen(context[at.z]), widen(context[at.w]));
}

/// Up to four columns of four keys' values.
struct Values {
  a: mat4x4f,
  b: mat4x4f,
  c: mat4x4f,
  d: mat4x4f,
}

fn values(rows: vec4u, column: u32) -> Values {
  var v: Values;
  v.a = value_block(rows, column);
  if HEAD4 > 4 {
    v.b = value_block(rows, column + 4);
  }
  if HEAD4 > 8 {
    v.c = value_block(rows, column + 8);
  }
  if HEAD4 > 12 {
    v.d = value_block(rows, column + 12);
  }
  return v;
}

/// What four keys of weights `w` add to the columns of one query.
fn weigh(v: Values, w: vec4f) -> mat4x4f {
  if HEAD4 > 8 {
    return mat4x4f(v.a * w, v.b * w, v.c * w, v.d * w);
  }
  return mat4x4f(v.a * w, v.b * w, vec4f(), vec4f());
}

@compute @workgroup_size(4)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) subgroup_lane: u32) {
  let lane = subgroup_lane % 4;
  let slices = (HEAD4 + SLICE4 - 1) / SLICE4;
  let first = (group.x / slices) * 8;
  let column = (group.x % slices) * SLICE4 + lane;
  let head = group.y * HEAD4;
  let sequence = p.first_sequence + group.z;
  let rows = sequences[sequence];
  let last = p.tokens - 1;
  let query_a = (rows.x + min(first + lane, last)) * p.query_stride4 + p.query_offset4 + head;
  let query_b = (rows.x + min(first + 4 + lane, last)) * p.query_stride4 + p.query_offset4 + head;

  // For queries 0-3 and 4-7: running maximum, and this lane's share of the sum of weights.
  var max_a = vec4f(LOWEST);
  var max_b = vec4f(LOWEST);
  var total_a = vec4f();
  var total_b = vec4f();
  var o0 = mat4x4f(); var o1 = mat4x4f(); var o2 = mat4x4f(); var o3 = mat4x4f();
  var o4 = mat4x4f(); var o5 = mat4x4f(); var o6 = mat4x4f(); var o7 = mat4x4f();

  for (var tile = 0u; tile < p.tokens; tile += 16) {
    // Keys past the end repeat the last one with weight zero.
    let key = vec4u(tile + 4 * lane) + vec4u(0, 1, 2, 3);
    let at = (rows.y + min(key, vec4u(last))) * p.context_stride4 + p.key_offset4 + head;
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    for (var c = 0u; c < HEAD4; c++) {
      let k = mat4x4f(widen(context[at.x + c]), widen(context[at.y + c]), widen(context[at.z + c]), widen(context[at.w + c]));
      let a = widen(query[query_a + c]);
      let b = widen(query[query_b + c]);
      s0 += quadBroadcast(a, 0u) * k;
      s1 += quadBroadcast(a, 1u) * k;
      s2 += quadBroadcast(a, 2u) * k;
      s3 += quadBroadcast(a, 3u) * k;
      s4 += quadBroadcast(b, 0u) * k;
      s5 += quadBroadcast(b, 1u) * k;
      s6 += quadBroadcast(b, 2u) * k;
      s7 += quadBroadcast(b, 3u) * k;
    }
    let inside = key < vec4u(p.tokens);
    let lowest = vec4f(LOWEST);
    s0 = select(lowest, s0, inside); s1 = select(lowest, s1, inside);
    s2 = select(lowest, s2, inside); s3 = select(lowest, s3, inside);
    s4 = select(lowest, s4, inside); s5 = select(lowest, s5, inside);
    s6 = select(lowest, s6, inside); s7 = select(lowest, s7, inside);

    let next_a = max(max_a, quad_max(vec4f(highest(s0), highest(s1), highest(s2), highest(s3))));
    let next_b = max(max_b, quad_max(vec4f(highest(s4), highest(s5), highest(s6), highest(s7))));
    let scale_a = exp(max_a - next_a);
    let scale_b = exp(max_b - next_b);
    max_a = next_a;
    max_b = next_b;
    s0 = exp(s0 - next_a.x); s1 = exp(s1 - next_a.y); s2 = exp(s2 - next_a.z); s3 = exp(s3 - next_a.w);
    s4 = exp(s4 - next_b.x); s5 = exp(s5 - next_b.y); s6 = exp(s6 - next_b.z); s7 = exp(s7 - next_b.w);
    total_a = total_a * scale_a + vec4f(sum(s0), sum(s1), sum(s2), sum(s3));
    total_b = total_b * scale_b + vec4f(sum(s4), sum(s5), sum(s6), sum(s7));
    o0 *= scale_a.x; o1 *= scale_a.y; o2 *= scale_a.z; o3 *= scale_a.w;
    o4 *= scale_b.x; o5 *= scale_b.y; o6 *= scale_b.z; o7 *= scale_b.w;

    // Every lane needs the weights of all 16 keys, for its own columns: they go round the quad, its own first, then those
    // of the neighbours in x, y and both. (A copy of the body per lane took the driver seconds to compile.)
    for (var y = 0u; y < 4; y += 2) {
      for (var x = 0u; x < 2; x++) {
        let keys = vec4u(tile + 4 * (lane ^ (x + y))) + vec4u(0, 1, 2, 3);
        let v = values((rows.y + min(keys, vec4u(last))) * p.context_stride4, head + column);
        o0 += weigh(v, s0); o1 += weigh(v, s1); o2 += weigh(v, s2); o3 += weigh(v, s3);
        o4 += weigh(v, s4); o5 += weigh(v, s5); o6 += weigh(v, s6); o7 += weigh(v, s7);
        s0 = quadSwapX(s0); s1 = quadSwapX(s1); s2 = quadSwapX(s2); s3 = quadSwapX(s3);
        s4 = quadSwapX(s4); s5 = quadSwapX(s5); s6 = quadSwapX(s6); s7 = quadSwapX(s7);
      }
      s0 = quadSwapY(s0); s1 = quadSwapY(s1); s2 = quadSwapY(s2); s3 = quadSwapY(s3);
      s4 = quadSwapY(s4); s5 = quadSwapY(s5); s6 = quadSwapY(s6); s7 = quadSwapY(s7);
    }
  }

  let sum_a = quad_sum(total_a);
  let sum_b = quad_sum(total_b);
  var columns = array<mat4x4f, 8>(o0, o1, o2, o3, o4, o5, o6, o7);
  for (var i = 0u; i < 8; i++) {
    let t = first + i;
    if t < p.tokens {
      let total = select(sum_b[i % 4], sum_a[i % 4], i < 4);
      let at = (sequence * p.tokens + t) * p.output_stride4 + head;
      for (var c = 0u; c < 4; c++) {
        if column + 4 * c < HEAD4 {
          output[at + column + 4 * c] = to_result(columns[i][c] / total);
        }
      }
    }
  }
}
