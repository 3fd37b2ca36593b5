// Multiplications and additions in registers only, for the arithmetic that this device reaches: eight independent
// vec4 chains an invocation, 64 operations a step (8 chains × 4 lanes × 2). No memory but one store at the end.

@group(0) @binding(0) var<storage, read> input: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;

override STEPS: u32 = 1024;

@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
  // Read from memory so that nothing is known when the shader is compiled.
  let factor = input[0];
  let term = input[1];
  let start = f32(id.x % 8);
  var a = vec4f(start);
  var b = vec4f(start + 1);
  var c = vec4f(start + 2);
  var d = vec4f(start + 3);
  var e = vec4f(start + 4);
  var f = vec4f(start + 5);
  var g = vec4f(start + 6);
  var h = vec4f(start + 7);
  for (var i = 0u; i < STEPS; i++) {
    a = a * factor + term;
    b = b * factor + term;
    c = c * factor + term;
    d = d * factor + term;
    e = e * factor + term;
    f = f * factor + term;
    g = g * factor + term;
    h = h * factor + term;
  }
  output[id.x] = ((a + b) + (c + d)) + ((e + f) + (g + h));
}
