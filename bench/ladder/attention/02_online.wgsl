// Attention, step 2: the softmax in one pass. Nothing but the result goes to memory.
//
// Changed:   query and result stay in registers as 16 vectors each, and a running maximum rescales what was summed so far
//            (Milakov and Gimelshein 2018), so a key and its value are used at once and no score is kept.
// Predicted: 512 bytes of key and value for 256 operations, 2 bytes an operation instead of 4, in 32 vector loads instead
//            of 258 scalar ones; no scores. Added: an exponential and 64 multiplications a key for rescaling.
// Lesson:    a running maximum makes the softmax one pass, and the scores never leave the registers
// Workgroup memory: none.

struct Parameters {
  tokens: u32,
  heads: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn attend(@builtin(global_invocation_id) id: vec3u) {
  let t = id.x;
  let head = 16 * id.y;
  let rows = id.z * p.tokens;
  if t >= p.tokens {
    return;
  }
  let width = 16 * p.heads;
  var query: array<vec4f, 16>;
  var sums: array<vec4f, 16>;
  for (var c = 0u; c < 16; c++) {
    query[c] = qkv[(rows + t) * 3 * width + head + c];
  }
  var highest = -3.4e38;
  var total = 0.0;

  for (var j = 0u; j < p.tokens; j++) {
    let key = (rows + j) * 3 * width + width + head;
    let value = key + width;
    var products = vec4f();
    for (var c = 0u; c < 16; c++) {
      products += query[c] * qkv[key + c];
    }
    let score = dot(products, vec4f(1));
    let next = max(highest, score);
    let rescale = exp(highest - next);
    let weight = exp(score - next);
    highest = next;
    total = total * rescale + weight;
    for (var c = 0u; c < 16; c++) {
      sums[c] = sums[c] * rescale + weight * qkv[value + c];
    }
  }

  for (var c = 0u; c < 16; c++) {
    output[(rows + t) * width + head + c] = sums[c] / total;
  }
}
