// What the attention kernels share. Offsets and strides count vec4s of elements.

struct Parameters {
  tokens: u32,
  query_offset4: u32,
  query_stride4: u32,
  key_offset4: u32,
  value_offset4: u32,
  context_stride4: u32,
  output_stride4: u32,
  /// The grid starts at this sequence.
  first_sequence: u32,
}

/// First row of a sequence among the queries, first row of the context that it attends to.
@group(0) @binding(2) var<storage, read> sequences: array<vec2u>;
@group(1) @binding(0) var<uniform> p: Parameters;
