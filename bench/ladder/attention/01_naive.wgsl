// Attention, step 1: naive. One invocation takes one query; its scores go through memory.
//
//   output[s, t, h, :] = Σ_j softmax_j(q[s, t, h] · k[s, j, h]) · v[s, j, h]
//   qkv [sequences · tokens, 3 · heads · 64]: queries (1/√d folded in), keys and values side by side, heads side by side
//   output [sequences · tokens, heads · 64], f32
//
// Changed:   the start: the formula as it stands. Scores, then their maximum, exponentials and sum, then the weighted values.
// Predicted: both GEMMs load 8 bytes for two operations, 4 bytes an operation. Of a query's 258 loads a key 66 are scores
//            (once for the maximum, once for the sum, once a column), and neighbours' scores lie a row apart. They take
//            4 · tokens² bytes a head: 119 MB at 768 heads and 197 tokens, where queries, keys and values take 116 MB.
// Lesson:    scores that go through memory take as much of it as queries, keys and values together
// Workgroup memory: none. Accepts heads of 64, as all steps; any count of tokens.

struct Parameters {
  tokens: u32,
  heads: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;  // [sequence, head, query, key]
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn attend(@builtin(global_invocation_id) id: vec3u) {
  let t = id.x;
  let head = id.y;
  let sequence = id.z;
  if t >= p.tokens {
    return;
  }
  let width = 64 * p.heads;
  let rows = sequence * p.tokens;
  let query = (rows + t) * 3 * width + 64 * head;
  let own = ((sequence * p.heads + head) * p.tokens + t) * p.tokens;

  for (var j = 0u; j < p.tokens; j++) {
    let key = (rows + j) * 3 * width + width + 64 * head;
    var score = 0.0;
    for (var c = 0u; c < 64; c++) {
      score += qkv[query + c] * qkv[key + c];
    }
    scores[own + j] = score;
  }

  var highest = scores[own];
  for (var j = 1u; j < p.tokens; j++) {
    highest = max(highest, scores[own + j]);
  }
  var total = 0.0;
  for (var j = 0u; j < p.tokens; j++) {
    let weight = exp(scores[own + j] - highest);
    scores[own + j] = weight;
    total += weight;
  }

  for (var c = 0u; c < 64; c++) {
    var sum = 0.0;
    for (var j = 0u; j < p.tokens; j++) {
      sum += scores[own + j] * qkv[(rows + j) * 3 * width + 2 * width + 64 * head + c];
    }
    output[(rows + t) * width + 64 * head + c] = sum / total;
  }
}
