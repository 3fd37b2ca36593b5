// Attention of the CLS token to the patches, as DINO draws it (Caron et al. 2021): one row of every head's softmax.
//
//   output[s, h, j - 1] = softmax_j(q[s, 0, h] · k[s, j, h])        j = 1 … tokens - 1, of a softmax over all tokens
//
// CLS's attention to itself counts in the softmax and is left out of the result, so that a row sums to less than one. The
// scale 1/√d is folded into q's matrix. Nothing of tokens × tokens is computed.
// query, key [sequences · tokens, stride] elem, heads of 4 · head4 side by side, zero-padded; both may lie in one buffer
// output [sequences, heads, tokens - 1] f32, contiguous, at any offset
//
// One workgroup: one head of one sequence, LANES invocations. A lane takes every LANES-th key and meets no other lane's: its
// scores wait in the output for the maximum, their exponentials for the sum, so that any number of tokens will do.
// Workgroup memory: 4 · LANES bytes. In front: elem4, parts/lane_sum.wgsl, parts/lane_max.wgsl.

struct Parameters {
  sequences: u32,
  tokens: u32,
  heads: u32,
  /// vec4s of a head.
  head4: u32,
  query_offset4: u32,
  query_stride4: u32,
  key_offset4: u32,
  key_stride4: u32,
  output_offset: u32,
}

@group(0) @binding(0) var<storage, read> query: array<elem4>;
@group(0) @binding(1) var<storage, read> key: array<elem4>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES)
fn attend_from_cls(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let map = group.y * groups.x + group.x;
  if map >= p.sequences * p.heads {
    return;
  }
  let first_row = map / p.heads * p.tokens;
  let column = map % p.heads * p.head4;
  let q = p.query_offset4 + first_row * p.query_stride4 + column;
  // Of token 1: token 0 has no place in the output, and its score is lane 0's to keep.
  let place = p.output_offset + map * (p.tokens - 1);

  var own = 0.0;
  var highest = -3.4e38;
  for (var j = lane; j < p.tokens; j += LANES) {
    let k = p.key_offset4 + (first_row + j) * p.key_stride4 + column;
    var products = vec4f();
    for (var c = 0u; c < p.head4; c++) {
      products += widen(query[q + c]) * widen(key[k + c]);
    }
    let score = (products.x + products.y) + (products.z + products.w);
    highest = max(highest, score);
    if j == 0 {
      own = score;
    } else {
      output[place + j - 1] = score;
    }
  }
  let maximum = lane_max(highest, lane, lane);
  workgroupBarrier();

  // Lane 0 goes on behind token 0.
  let next = select(lane, LANES, lane == 0);
  var sum = 0.0;
  if lane == 0 {
    sum = exp(own - maximum);
  }
  for (var j = next; j < p.tokens; j += LANES) {
    let weight = exp(output[place + j - 1] - maximum);
    output[place + j - 1] = weight;
    sum += weight;
  }
  let total = lane_sum(sum, lane, lane);

  for (var j = next; j < p.tokens; j += LANES) {
    output[place + j - 1] /= total;
  }
}
