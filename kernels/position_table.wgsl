// Position embedding: what is added to a token's row behind the patch embedding's GEMM, CLS or bias, and position.
//
//   table[0] = position[0] + cls;   table[t] = position[t] + bias
//
// parameters f32, all of the model's, flat: position [tokens, 4·width4], cls and bias [4·width4] lie at offsets in it
// table      [tokens, 4·width4] f32
// One invocation writes one vec4. Workgroup memory: none. Generated in front: nothing of it is used.

struct Parameters {
  tokens: u32,
  width4: u32,
  position_offset4: u32,
  cls_offset4: u32,
  bias_offset4: u32,
}

@group(0) @binding(0) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> table: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn build(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.tokens * p.width4 {
    return;
  }
  let first = select(p.bias_offset4, p.cls_offset4, i < p.width4);
  table[i] = parameters[p.position_offset4 + i] + parameters[first + i % p.width4];
}
