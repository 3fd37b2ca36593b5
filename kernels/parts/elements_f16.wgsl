// Activations and matrices in float16, two to a word, widened by WGSL's own unpacking. Every adapter has that: the 16-bit tier
// needs no `shader-f16`, and a software adapter can be tested in it.

alias elem4 = vec2u;

fn widen(x: elem4) -> vec4f {
  return vec4f(unpack2x16float(x.x), unpack2x16float(x.y));
}
