// Guided detail, last of four kernels: the colour maps, between their pixels, applied to the content at its full resolution.
//
//   result = round(255 · (w · clamp(Aᵀ I + b, 0, 1) + (1 - w) · I))        A, b bilinear, half-pixel centres, clamped
//
// w is 1, or with BACKGROUND the soft tissue weight of the content's clipped 5 × 5 mean: bare glass stays as it is.
//   v = max(mean / white, 1/255),  chroma = ln(max v / min v),  dark = -mean ln v,
//   w = smoothstep(.04, .10, chroma + ½ max(0, dark - .25))
//
// content 8-bit RGB or grey, packed: whole images, or as much around a piece as the mean reaches
// coefficients [slots, H, W, 3] vec4f; pieces [all slots] four vec4f each, whole numbers as their bits:
//   first word of its content, first word of its result, width and height of what is written
//   column and row of its first pixel in the content, width and height of the content
//   scale x, y and offset x, y: the map's place of pixel (x, y) is (x + ½) · scale + offset, pixels counted in the piece
//   least x, most x, least y, most y of that place
// result: height · width pixels of every piece, packed, from its first word on
// One invocation writes four pixels, which are whole words; z counts slots.
// Workgroup memory: none. Generated in front: parts/guided.wgsl.

override BACKGROUND: bool = false;
override CHANNELS: u32 = 3;

struct Parameters {
  height: u32,
  width: u32,
  first_slot: u32,
  padding0: u32,
  white: vec4f,
}

@group(0) @binding(0) var<storage, read> content: array<u32>;
@group(0) @binding(1) var<storage, read> coefficients: array<vec4f>;
@group(0) @binding(2) var<storage, read> pieces: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

/// Pixel `at` behind a word of the content, in [0, 1].
fn pixel(word: u32, at: u32) -> vec3f {
  let byte = CHANNELS * at;
  let red = level(content[word + byte / 4], byte);
  if CHANNELS == 1 {
    return vec3f(red);
  }
  return vec3f(red, level(content[word + (byte + 1) / 4], byte + 1), level(content[word + (byte + 2) / 4], byte + 2));
}

/// How much a pixel is tissue, by the mean of those around it.
fn tissue(word: u32, x: u32, y: u32, width: u32, height: u32) -> f32 {
  let columns = vec2u(max(x, 2) - 2, min(x + 2, width - 1));
  let rows = vec2u(max(y, 2) - 2, min(y + 2, height - 1));
  var sum = vec3f();
  for (var row = rows.x; row <= rows.y; row++) {
    for (var column = columns.x; column <= columns.y; column++) {
      sum += pixel(word, row * width + column);
    }
  }
  let mean = sum / f32((columns.y - columns.x + 1) * (rows.y - rows.x + 1));
  let v = log(max(mean / p.white.xyz, vec3f(1.0 / 255.0)));
  let chroma = max(v.x, max(v.y, v.z)) - min(v.x, min(v.y, v.z));
  let dark = -(v.x + v.y + v.z) / 3.0;
  return smoothstep(0.04, 0.1, chroma + 0.5 * max(0.0, dark - 0.25));
}

@compute @workgroup_size(64)
fn guided_apply(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let sizes = bitcast<vec4u>(pieces[4 * (p.first_slot + id.z)]);
  let around = bitcast<vec4u>(pieces[4 * (p.first_slot + id.z) + 1]);
  let mapping = pieces[4 * (p.first_slot + id.z) + 2];
  let bounds = pieces[4 * (p.first_slot + id.z) + 3];
  let width = sizes.z;
  let count = width * sizes.w;
  let first = 4 * (id.y * groups.x * 64 + id.x);
  if first >= count {
    return;
  }
  var packed = array<u32, 3>();
  for (var lane = 0u; lane < 4; lane++) {
    let at = first + lane;
    if at >= count {
      break;
    }
    let x = at % width;
    let y = at / width;
    let guide = pixel(sizes.x, (around.y + y) * around.z + around.x + x);
    let place = clamp((vec2f(f32(x), f32(y)) + 0.5) * mapping.xy + mapping.zw, bounds.xz, bounds.yw);
    let near = vec2u(place);
    let far = min(near + 1, vec2u(bounds.yw));
    let t = place - vec2f(near);
    let base = id.z * p.height;
    let corner = 3 * vec4u(
      (base + near.y) * p.width + near.x,
      (base + near.y) * p.width + far.x,
      (base + far.y) * p.width + near.x,
      (base + far.y) * p.width + far.x,
    );
    var weight = 1.0;
    if BACKGROUND {
      weight = tissue(sizes.x, around.x + x, around.y + y, around.z, around.w);
    }
    for (var c = 0u; c < CHANNELS; c++) {
      let upper = mix(coefficients[corner.x + c], coefficients[corner.y + c], t.x);
      let lower = mix(coefficients[corner.z + c], coefficients[corner.w + c], t.x);
      let restyled = clamp(dot(mix(upper, lower, t.y), vec4f(guide, 1.0)), 0.0, 1.0);
      let value = u32(floor(255.0 * mix(guide[c], restyled, weight) + 0.5));
      let byte = CHANNELS * lane + c;
      packed[byte / 4] |= value << (8 * (byte % 4));
    }
  }
  let word = sizes.y + CHANNELS * (first / 4);
  for (var k = 0u; k < CHANNELS; k++) {
    // The last pixels of a piece may end before their words do.
    if 4 * (CHANNELS * (first / 4) + k) < CHANNELS * count {
      result[word + k] = packed[k];
    }
  }
}
