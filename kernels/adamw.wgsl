// AdamW, the optimiser (Loshchilov and Hutter 2019, algorithm 2, as PyTorch has it): one step over a flat array, decay on
// every parameter.
//
//   g  = coefficient · gradient                      the coefficient clips and undoes the scaling of losses (finish_step.wgsl)
//   w ← w · (1 - rate · decay)
//   m ← beta1 · m + (1 - beta1) · g,   v ← beta2 · v + (1 - beta2) · g²
//   w ← w - rate / (1 - beta1^t) · m / (√v / √(1 - beta2^t) + epsilon)
//
// gradients, weights, first (m), second (v) f32, 4·count4 numbers each; settings and state as finish_step.wgsl has them.
// Padding has gradient and weight zero and keeps them. Nothing is changed once a step was broken.
// One invocation: one vec4. Workgroup memory: none. Generated in front: nothing of it is used.

struct Parameters {
  count4: u32,
  beta1: f32,
  beta2: f32,
  /// 1 - beta, rounded once: the difference of two f32 would have lost half its digits.
  rest1: f32,
  rest2: f32,
  epsilon: f32,
  decay: f32,
}

@group(0) @binding(0) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(1) var<storage, read> settings: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> first: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.count4 || state[2] != 0 {
    return;
  }
  let rate = settings[1];
  let g = bitcast<f32>(state[1]) * gradients[i];
  let m = p.beta1 * first[i] + p.rest1 * g;
  let v = p.beta2 * second[i] + p.rest2 * g * g;
  first[i] = m;
  second[i] = v;
  weights[i] = weights[i] * (1.0 - rate * p.decay) - rate * settings[2] * m / (sqrt(v) * settings[3] + p.epsilon);
}
