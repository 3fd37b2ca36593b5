/// Byte `at` of a buffer, in the word that holds it, as a value in [0, 1].
fn level(word: u32, at: u32) -> f32 {
  return f32(extractBits(word, 8 * (at % 4), 8)) / 255.0;
}

/// Whether a pixel lies in a rectangle of left, top, width, height.
fn inside(rectangle: vec4u, x: u32, y: u32) -> bool {
  return x >= rectangle.x && y >= rectangle.y && x < rectangle.x + rectangle.z && y < rectangle.y + rectangle.w;
}
