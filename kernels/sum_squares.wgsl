// Sums of squares of a flat array, one a workgroup: the first half of a gradient's norm (finish_step.wgsl has the other).
//
//   partials[g] = Σ over the vec4s i of workgroup g of values[i] · values[i]
//
// values f32, 4·count4 numbers; workgroup g takes every GROUPS-th run of 64 vec4s, so that neighbours read neighbours.
// Workgroup memory: 256 bytes. Generated in front: nothing of it is used.

struct Parameters {
  count4: u32,
}

@group(0) @binding(0) var<storage, read> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> p: Parameters;

var<workgroup> lane_sums: array<f32, 64>;

@compute @workgroup_size(64)
fn sum(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  var sum = vec4f();
  for (var i = group.x * 64 + index; i < p.count4; i += groups.x * 64) {
    sum += values[i] * values[i];
  }
  lane_sums[index] = sum.x + sum.y + sum.z + sum.w;
  workgroupBarrier();
  for (var half = 32u; half > 0; half /= 2) {
    if index < half {
      lane_sums[index] += lane_sums[index + half];
    }
    workgroupBarrier();
  }
  if index == 0 {
    partials[group.x] = lane_sums[0];
  }
}
