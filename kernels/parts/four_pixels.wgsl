// Four pixels of a row of a result, as kernels that restyle write them: rows begin at whole words and fill four pixels. A kernel that it stands in front of
// has the binding `result: array<u32>`.

override BACKGROUND: bool = false;

/// Where four pixels of an image lie: row, first column, first word of the result; nowhere where `inside` is false.
struct Four {
  inside: bool,
  x: u32,
  y: u32,
  word: u32,
}

fn four_at(image: Image, id: vec3u, groups: vec3u) -> Four {
  let fours = (image.width + 3) / 4;
  let at = id.y * groups.x * 64 + id.x;
  if fours == 0 || at >= fours * image.height {
    return Four(false, 0, 0, 0);
  }
  return Four(true, 4 * (at % fours), at / fours, image.result + CHANNELS * at);
}

/// How much of the restyled colour goes into each: all, or with BACKGROUND as much as it is tissue.
fn shares(image: Image, four: Four) -> vec4f {
  if BACKGROUND {
    return tissue_of_four(image.content, four.x, four.y, vec2u(image.width, image.height));
  }
  return vec4f(1.0);
}

/// A restyled colour blended with the content's, rounded once.
fn rounded(content: vec3f, restyled: vec3f, share: f32) -> vec3u {
  return vec3u(floor(255.0 * mix(content, clamp(restyled, vec3f(), vec3f(1.0)), share) + 0.5));
}

fn write_four(word: u32, values: array<vec3u, 4>) {
  if CHANNELS == 1 {
    result[word] = values[0].x | (values[1].x << 8) | (values[2].x << 16) | (values[3].x << 24);
    return;
  }
  result[word] = values[0].x | (values[0].y << 8) | (values[0].z << 16) | (values[1].x << 24);
  result[word + 1] = values[1].y | (values[1].z << 8) | (values[2].x << 16) | (values[2].y << 24);
  result[word + 2] = values[2].z | (values[3].x << 8) | (values[3].y << 16) | (values[3].z << 24);
}
