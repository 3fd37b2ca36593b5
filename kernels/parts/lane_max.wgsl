// Maximum of one f32 an invocation over the LANES invocations of a row, by the same tree and in the same memory as lane_sum.
// Needs lane_sum.wgsl.

/// The maximum of `value` over the lanes of a row, for each of them; `index` is that of the invocation in its workgroup. Every
/// invocation of the workgroup must call it, and pass a barrier before it calls it or lane_sum again.
fn lane_max(value: f32, lane: u32, index: u32) -> f32 {
  lane_sums[index] = value;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if lane < half {
      lane_sums[index] = max(lane_sums[index], lane_sums[index + half]);
    }
    workgroupBarrier();
  }
  return lane_sums[index - lane];
}
