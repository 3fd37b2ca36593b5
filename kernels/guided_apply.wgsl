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
// Workgroup memory: none. Generated in front: CHANNELS, parts/tissue.wgsl.

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
