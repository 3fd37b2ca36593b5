// Sum of squares of a flat array, a partial sum a workgroup: the first half of a gradient's norm (finish_step.wgsl: the other).
//
//   partials[g] = Σ over the vec4s i of workgroup g of values[i] · values[i]
//
// values f32, 4·count4 numbers; workgroup g takes every GROUPS-th run of LANES vec4s, so that neighbours read neighbours.
// Workgroup memory: 4 · LANES bytes. In front: parts/lane_sum.wgsl.

struct Parameters {
  count4: u32,
}

@group(0) @binding(0) var<storage, read> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(LANES)
fn sum(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  var sum = vec4f();
  for (var i = group.x * LANES + index; i < p.count4; i += groups.x * LANES) {
    sum += values[i] * values[i];
  }
  let whole = lane_sum(sum.x + sum.y + sum.z + sum.w, index, index);
  if index == 0 {
    partials[group.x] = whole;
  }
}
