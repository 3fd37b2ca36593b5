// Percentiles of stains by radix selection, choosing: in which of 256 bins the wanted order statistic of every target is.
//
// Percentile q of n numbers lies at q · (n - 1) / 100, between two order statistics: targets 0 and 1 are those of the first percentile, 2 and 3 those of
// the second. Ranks are whole numbers throughout. STEP 0: percentiles 1 and 99 of one quantity; STEP 1: 99 of two.
//
// counts: kernels/stain_counts.wgsl
// targets [slots, 4] vec4u: bits of the key so far, rank among what agrees with them, 0, share of the next order statistic as the bits of an f32
// One invocation: one target. Workgroup memory: none.

override STEP: u32 = 0;

struct Parameters {
  slots: u32,
  /// 0, 1, 2: from the highest bits down.
  bits: u32,
}

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> targets: array<vec4u>;
@group(1) @binding(0) var<uniform> p: Parameters;

/// Rank and share of an order statistic: the last place, and percent of it in whole numbers that do not overflow.
fn rank_of(last: u32, percent: u32, next: u32) -> vec2u {
  let hundreds = last / 100;
  let rest = (last % 100) * percent;
  let share = rest % 100;
  return vec2u(min(percent * hundreds + rest / 100 + next, last), bitcast<u32>(f32(share) / 100.0));
}

@compute @workgroup_size(64)
fn stain_select(@builtin(global_invocation_id) id: vec3u) {
  if id.x >= 4 * p.slots {
    return;
  }
  let base = ((3 * STEP + p.bits) * p.slots * 4 + id.x) * 256;
  var goal = targets[id.x];
  if p.bits == 0 {
    var total = 0u;
    for (var bin = 0u; bin < 256; bin++) {
      total += counts[base + bin];
    }
    let percent = select(99u, 1u, STEP == 0 && id.x % 4 < 2);
    let rank = rank_of(max(total, 1) - 1, percent, id.x % 2);
    goal = vec4u(0, rank.x, 0, rank.y);
  }
  var digit = 255u;
  var below = 0u;
  for (var bin = 0u; bin < 256; bin++) {
    let count = counts[base + bin];
    if goal.y < below + count {
      digit = bin;
      break;
    }
    below += count;
  }
  targets[id.x] = vec4u((goal.x << 8) | digit, goal.y - min(below, goal.y), 0, goal.w);
}
