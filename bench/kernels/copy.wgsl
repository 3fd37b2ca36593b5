// Copies vec4s, for the memory bandwidth that this device reaches: 32 bytes of traffic a vec4.
// Workgroup memory: none.

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;

override EACH: u32 = 4;

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) index: u32) {
  let first = (group.y * groups.x + group.x) * 64 * EACH + index;
  let count = arrayLength(&output);
  for (var i = 0u; i < EACH; i++) {
    let at = first + i * 64;
    if at < count {
      output[at] = input[at];
    }
  }
}
