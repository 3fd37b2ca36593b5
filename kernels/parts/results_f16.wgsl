// Results in float16, two to a word.

const FLOAT16_RESULT = true;
alias result4 = vec2u;

fn to_result(x: vec4f) -> result4 {
  return vec2u(pack2x16float(x.xy), pack2x16float(x.zw));
}

fn of_result(x: result4) -> vec4f {
  return vec4f(unpack2x16float(x.x), unpack2x16float(x.y));
}
