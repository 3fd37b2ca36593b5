// Pixels of 8-bit images that lie packed in `content`, RGB or grey by CHANNELS, and how much they are tissue:
//
//   v = max(colour / white, 1/255),  chroma = ln(max v / min v),  dark = -mean ln v,
//   t = smoothstep(.04, .10, chroma + ½ max(0, dark - .25))
//
// A kernel that it stands in front of has the binding `content: array<u32>`, and `white: vec4f` among its parameters `p`.

/// The levels of pixel `at` behind a word of `content`; grey counts as three equal channels.
fn levels(word: u32, at: u32) -> vec3u {
  let byte = CHANNELS * at;
  let shift = 8 * (byte % 4);
  var bits = content[word + byte / 4] >> shift;
  if CHANNELS == 1 {
    return vec3u(bits & 255);
  }
  // Shifted twice: by 32 at once is not defined.
  bits |= (content[word + (byte + 2) / 4] << (24 - shift)) << 8;
  return vec3u(bits, bits >> 8, bits >> 16) & vec3u(255);
}

/// The same in [0, 1].
fn pixel(word: u32, at: u32) -> vec3f {
  return vec3f(levels(word, at)) / 255.0;
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
