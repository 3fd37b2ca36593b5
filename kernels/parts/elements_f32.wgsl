// Activations and matrices in 32 bits.

alias elem4 = vec4f;

fn widen(x: elem4) -> vec4f {
  return x;
}
