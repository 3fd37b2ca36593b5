// Gradient clipping by norm, and the bookkeeping of a training step: its norm, its losses, and whether all of it is finite.
//
//   norm = √(Σ partials) / scale,   coefficient = min(1, clip / (norm + 1e-6)) / scale      (as clip_grad_norm_ of PyTorch)
//
// partials [count] f32: sums of squares of the gradient, which is `scale` times too large where losses are scaled
// losses   [TERMS] f32: the terms of this step's loss
// settings [8] f32 (u32 bits in 0): step (from 1), learning rate, 1 / (1 - beta1^step), 1 / √(1 - beta2^step), scale
// state    [4 + TERMS·HISTORY] words, kept from step to step:
//   0 norm   1 coefficient   2 the first step whose norm or losses were not finite, 0 for none   3 step
//   from 4 on the losses of the last HISTORY steps, those of step t at 4 + TERMS · ((t - 1) mod HISTORY)
// Whoever wants the losses of many steps reads them at once, and sums them as exactly as they like.
// From the first broken step on `adamw` leaves the weights alone: what was good before is not lost, and the host need not look
// every step. Whether a number is finite is told by its bits, since compilers may take NaN to be impossible.
// One workgroup adds up; one of its invocations does the rest.
// Workgroup memory: 4 · LANES bytes. In front: HISTORY, TERMS, parts/lane_sum.wgsl.

struct Parameters {
  count: u32,
  clip: f32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> settings: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;
@group(1) @binding(0) var<uniform> p: Parameters;

fn finite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(LANES)
fn finish(@builtin(local_invocation_index) index: u32) {
  var sum = 0.0;
  for (var i = index; i < p.count; i += LANES) {
    sum += partials[i];
  }
  let squares = lane_sum(sum, index, index);
  if index > 0 {
    return;
  }
  let scale = settings[4];
  let norm = sqrt(squares) / scale;
  let step = bitcast<u32>(settings[0]);
  var sound = finite(bitcast<u32>(norm));
  for (var term = 0u; term < TERMS; term++) {
    let loss = losses[term];
    sound = sound && finite(bitcast<u32>(loss));
    state[4 + TERMS * ((step - 1) % HISTORY) + term] = bitcast<u32>(loss);
  }
  if !sound && state[2] == 0 {
    state[2] = step;
  }
  state[0] = bitcast<u32>(norm);
  state[1] = bitcast<u32>(min(1.0, p.clip / (norm + 1e-6)) / scale);
  state[3] = step;
}
