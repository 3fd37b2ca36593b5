// AdamW, the optimiser (Loshchilov and Hutter 2019, algorithm 2, as PyTorch has it): one step over a flat array. Where it is not
// DECOUPLED it is Adam with L2 decay (Kingma and Ba 2015, `torch.optim.Adam`): decay is part of the gradient, behind its clipping.
//
//   g  = coefficient · gradient [+ decay · w]        the coefficient clips and undoes the scaling of losses (finish_step.wgsl)
//   w ← w [· (1 - rate · decay)]
//   m ← beta1 · m + (1 - beta1) · g,   v ← beta2 · v + (1 - beta2) · g²
//   w ← w - rate / (1 - beta1^t) · m / (√v / √(1 - beta2^t) + epsilon)
//
// gradients, weights, first (m), second (v) f32, 4·count4 numbers each; settings and state as finish_step.wgsl has them.
// decayed: a bit for every 64 numbers, 32 to a word: decay is zero where it is not set.
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
@group(0) @binding(6) var<storage, read> decayed: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

override DECOUPLED: bool = true;

@compute @workgroup_size(64)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if i >= p.count4 || state[2] != 0 {
    return;
  }
  let rate = settings[1];
  let decay = p.decay * f32(extractBits(decayed[i / 512], (i / 16) % 32, 1));
  var g = bitcast<f32>(state[1]) * gradients[i];
  if !DECOUPLED {
    g += decay * weights[i];
  }
  let m = p.beta1 * first[i] + p.rest1 * g;
  let v = p.beta2 * second[i] + p.rest2 * g * g;
  first[i] = m;
  second[i] = v;
  let kept = select(1.0, 1.0 - rate * decay, DECOUPLED);
  weights[i] = weights[i] * kept - rate * settings[2] * m / (sqrt(v) * settings[3] + p.epsilon);
}
