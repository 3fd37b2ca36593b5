// Attention, step 4: float16 in storage and in the tile.
//
// Changed:   16-bit floats, two to a u32, which need no feature. They stay packed in workgroup memory, so the same 8 KB hold
//            32 keys, and each use widens them (unpack2x16float). Scores, weights and sums stay f32.
// Predicted: 1 byte an operation from workgroup memory instead of 2, half the bytes from storage, half the barriers (14 at
//            197 tokens). Added: one conversion for every two values used, 128 operations a key and query in 64
//            instructions. A GPU converts two at once; a CPU without the instruction builds each float bit by bit.
// Lesson:    what is widened at each use is widened once a query: convert where the value is reused, or where it is free
// Workgroup memory: 8 KB.

struct Parameters {
  tokens: u32,
  heads: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec2u>;
@group(0) @binding(1) var<storage, read_write> output: array<vec2u>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> keys: array<vec2u, 512>;  // [key 32][column 16 × 4]
var<workgroup> values: array<vec2u, 512>;

fn widen(packed: vec2u) -> vec4f {
  return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn narrow(value: vec4f) -> vec2u {
  return vec2u(pack2x16float(value.xy), pack2x16float(value.zw));
}

@compute @workgroup_size(64)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let t = 64 * group.x + index;
  let head = 16 * group.y;
  let rows = group.z * p.tokens;
  let width = 16 * p.heads;
  var query: array<vec4f, 16>;
  var sums: array<vec4f, 16>;
  for (var c = 0u; c < 16; c++) {
    query[c] = widen(qkv[(rows + min(t, p.tokens - 1)) * 3 * width + head + c]);
  }
  var highest = -3.4e38;
  var total = 0.0;

  for (var tile = 0u; tile < p.tokens; tile += 32) {
    let count = min(32u, p.tokens - tile);
    for (var i = index; i < 16 * count; i += 64) {
      let at = (rows + tile + i / 16) * 3 * width + width + head + i % 16;
      keys[i] = qkv[at];
      values[i] = qkv[at + width];
    }
    workgroupBarrier();

    var scores: array<f32, 32>;
    var next = highest;
    for (var j = 0u; j < count; j++) {
      var products = vec4f();
      for (var c = 0u; c < 16; c++) {
        products += query[c] * widen(keys[16 * j + c]);
      }
      scores[j] = dot(products, vec4f(1));
      next = max(next, scores[j]);
    }
    let rescale = exp(highest - next);
    highest = next;
    total *= rescale;
    for (var c = 0u; c < 16; c++) {
      sums[c] *= rescale;
    }
    for (var j = 0u; j < count; j++) {
      let weight = exp(scores[j] - highest);
      total += weight;
      for (var c = 0u; c < 16; c++) {
        sums[c] += weight * widen(values[16 * j + c]);
      }
    }
    workgroupBarrier();
  }

  if t < p.tokens {
    for (var c = 0u; c < 16; c++) {
      output[(rows + t) * width + head + c] = narrow(sums[c] / total);
    }
  }
}
