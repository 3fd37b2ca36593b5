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
// result: height · width pixels of every piece, packed, from its first word on; rows begin at whole words and fill four pixels
// One invocation writes four pixels of a row, which are whole words; z counts slots.
// Workgroup memory: none. Generated in front: parts/guided.wgsl.

override BACKGROUND: bool = false;

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
  let shift = 8 * (byte % 4);
  var bits = content[word + byte / 4] >> shift;
  if CHANNELS == 1 {
    return vec3f(f32(bits & 255) / 255.0);
  }
  // Shifted twice: by 32 at once is not defined.
  bits |= (content[word + (byte + 2) / 4] << (24 - shift)) << 8;
  return vec3f(vec3u(bits, bits >> 8, bits >> 16) & vec3u(255)) / 255.0;
}

/// How much a colour is tissue.
fn tissue(mean: vec3f) -> f32 {
  let v = log(max(mean / p.white.xyz, vec3f(1.0 / 255.0)));
  let chroma = max(v.x, max(v.y, v.z)) - min(v.x, min(v.y, v.z));
  let dark = -(v.x + v.y + v.z) / 3.0;
  return smoothstep(0.04, 0.1, chroma + 0.5 * max(0.0, dark - 0.25));
}

/// The same of four pixels from (x, y) on, by the means of 5 × 5 around them, clipped at the border of `size`.
fn tissue_of_four(word: u32, x: u32, y: u32, size: vec2u) -> vec4f {
  let top = max(y, 2) - 2;
  let bottom = min(y + 2, size.y - 1);
  if CHANNELS == 3 && x >= 2 && x + 5 < size.x {
    return tissue_inside(word, x, top, bottom, size.x);
  }
  var columns = array<vec4f, 8>();
  for (var k = 0u; k < 8; k++) {
    // Column x - 2 + k; what lies in front of the first is, unsigned, far behind the last.
    let column = x + k - 2;
    if column < size.x {
      for (var row = top; row <= bottom; row++) {
        columns[k] += vec4f(pixel(word, row * size.x + column), 1.0);
      }
    }
  }
  var weights = vec4f();
  for (var lane = 0u; lane < 4; lane++) {
    let sum = columns[lane] + columns[lane + 1] + columns[lane + 2] + columns[lane + 3] + columns[lane + 4];
    weights[lane] = tissue(sum.xyz / sum.w);
  }
  return weights;
}

/// The same where no column is clipped: the 24 bytes of a row's eight pixels are summed four at a time, in halves of words.
fn tissue_inside(word: u32, x: u32, top: u32, bottom: u32, width: u32) -> vec4f {
  const BYTES = 0x00ff00ffu;
  var even = vec4u();
  var odd = vec4u();
  var last_even = vec2u();
  var last_odd = vec2u();
  for (var row = top; row <= bottom; row++) {
    let byte = 3 * (row * width + x - 2);
    let at = word + byte / 4;
    let shift = 8 * (byte % 4);
    let a = vec4u(content[at], content[at + 1], content[at + 2], content[at + 3]);
    // The last of seven words holds bytes of these pixels only where they do not begin at one.
    let b = vec3u(content[at + 4], content[at + 5], content[word + (byte + 23) / 4]);
    // Shifted twice: by 32 at once is not defined.
    let four = (a >> vec4u(shift)) | ((vec4u(a.yzw, b.x) << vec4u(24 - shift)) << vec4u(8));
    let two = (b.xy >> vec2u(shift)) | ((b.yz << vec2u(24 - shift)) << vec2u(8));
    even += four & vec4u(BYTES);
    odd += (four >> vec4u(8)) & vec4u(BYTES);
    last_even += two & vec2u(BYTES);
    last_odd += (two >> vec2u(8)) & vec2u(BYTES);
  }
  const LOW = 0xffffu;
  let c0 = vec3u(even.x & LOW, odd.x & LOW, even.x >> 16);
  let c1 = vec3u(odd.x >> 16, even.y & LOW, odd.y & LOW);
  let c2 = vec3u(even.y >> 16, odd.y >> 16, even.z & LOW);
  let c3 = vec3u(odd.z & LOW, even.z >> 16, odd.z >> 16);
  let c4 = vec3u(even.w & LOW, odd.w & LOW, even.w >> 16);
  let c5 = vec3u(odd.w >> 16, last_even.x & LOW, last_odd.x & LOW);
  let c6 = vec3u(last_even.x >> 16, last_odd.x >> 16, last_even.y & LOW);
  let c7 = vec3u(last_odd.y & LOW, last_even.y >> 16, last_odd.y >> 16);
  let scale = 1.0 / (255.0 * 5.0 * f32(bottom - top + 1));
  let middle = c3 + c4;
  return vec4f(
    tissue(scale * vec3f(c0 + c1 + c2 + middle)),
    tissue(scale * vec3f(c1 + c2 + middle + c5)),
    tissue(scale * vec3f(c2 + middle + c5 + c6)),
    tissue(scale * vec3f(middle + c5 + c6 + c7)),
  );
}

/// The map of colours at a place between two rows.
fn maps(upper: u32, lower: u32, between: f32) -> mat3x4f {
  return mat3x4f(
    mix(coefficients[3 * upper], coefficients[3 * lower], between),
    mix(coefficients[3 * upper + 1], coefficients[3 * lower + 1], between),
    mix(coefficients[3 * upper + 2], coefficients[3 * lower + 2], between),
  );
}

@compute @workgroup_size(64)
fn guided_apply(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let piece = 4 * (p.first_slot + id.z);
  let sizes = bitcast<vec4u>(pieces[piece]);
  let around = bitcast<vec4u>(pieces[piece + 1]);
  let mapping = pieces[piece + 2];
  let bounds = pieces[piece + 3];
  let fours = (sizes.z + 3) / 4;
  let at = id.y * groups.x * 64 + id.x;
  if at >= fours * sizes.w {
    return;
  }
  let y = at / fours;
  let first = 4 * (at % fours);
  var weights = vec4f(1.0);
  if BACKGROUND {
    weights = tissue_of_four(sizes.x, around.x + first, around.y + y, around.zw);
  }
  let place_y = clamp((f32(y) + 0.5) * mapping.y + mapping.w, bounds.z, bounds.w);
  let upper = (id.z * p.height + u32(place_y)) * p.width;
  let lower = (id.z * p.height + min(u32(place_y) + 1, u32(bounds.w))) * p.width;
  let between = fract(place_y);
  var values = array<vec3u, 4>();
  for (var lane = 0u; lane < 4; lane++) {
    let x = first + lane;
    if x >= sizes.z {
      break;
    }
    let place_x = clamp((f32(x) + 0.5) * mapping.x + mapping.z, bounds.x, bounds.y);
    let near = u32(place_x);
    let far = min(near + 1, u32(bounds.y));
    let left = maps(upper + near, lower + near, between);
    let right = maps(upper + far, lower + far, between);
    let guide = pixel(sizes.x, (around.y + y) * around.z + around.x + x);
    let t = fract(place_x);
    let restyled = clamp(vec4f(guide, 1.0) * (left * (1 - t) + right * t), vec3f(), vec3f(1.0));
    values[lane] = vec3u(floor(255.0 * mix(guide, restyled, weights[lane]) + 0.5));
  }
  let word = sizes.y + CHANNELS * at;
  if CHANNELS == 1 {
    result[word] = values[0].x | (values[1].x << 8) | (values[2].x << 16) | (values[3].x << 24);
    return;
  }
  result[word] = values[0].x | (values[0].y << 8) | (values[0].z << 16) | (values[1].x << 24);
  result[word + 1] = values[1].y | (values[1].z << 8) | (values[2].x << 16) | (values[2].y << 24);
  result[word + 2] = values[2].z | (values[3].x << 8) | (values[3].y << 16) | (values[3].z << 24);
}
