// Results in 32 bits.

const FLOAT16_RESULT = false;
alias result4 = vec4f;

fn to_result(x: vec4f) -> result4 {
  return x;
}

fn of_result(x: result4) -> vec4f {
  return x;
}
