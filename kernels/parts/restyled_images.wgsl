// Images of any sizes, packed one behind the other in `content`, and how statistics are cut: into chunks of CHUNK pixels of one image, so that an image's
// sums have the same order whatever lies beside it.
//
// images [slots] three vec4u each:
//   first word of its content, first word of its result, width, height; both words count from the buffers' starts
//   first chunk, number of chunks, pixels, first twiddle factor of its rows (those of its columns follow)
//   first of its rows' Fourier coefficients, first of its own, half its band, nothing
// chunks [chunks] two u32 each: slot of its image, first pixel. A slot beyond all is no image.

const CHUNK = 2048u;

struct Image {
  content: u32,
  result: u32,
  width: u32,
  height: u32,
  first_chunk: u32,
  chunks: u32,
  pixels: u32,
  twiddles: u32,
  rows: u32,
  coefficients: u32,
  band: u32,
}

fn image_of(a: vec4u, b: vec4u, c: vec4u) -> Image {
  return Image(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y, c.z);
}

/// Where the grid of a call with one workgroup a chunk is.
fn chunk_of(group: vec3u, groups: vec3u) -> u32 {
  return group.y * groups.x + group.x;
}
