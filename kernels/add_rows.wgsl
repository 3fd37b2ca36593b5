// Gradient accumulation: one region of a buffer added to another of the same buffer, where rows have gradients of two paths.
//
//   buffer[to4 + i] += buffer[from4 + i]        i < count4
//
// buffer f32, in vec4s; the two regions must not overlap. A dispatch cannot bind one buffer both as input and as output,
// which is why this is an op of its own.
// One invocation adds one vec4. Workgroup memory: none. Generated in front: nothing used.

struct Parameters {
  count4: u32,
  from4: u32,
  to4: u32,
}

@group(0) @binding(0) var<storage, read_write> buffer: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn add_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i < p.count4 {
    buffer[p.to4 + i] += buffer[p.from4 + i];
  }
}
