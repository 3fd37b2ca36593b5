// Sum of one f32 an invocation over the LANES invocations of a row: a tree over workgroup memory, in which half of the lanes
// that are left add what the other half has. Rounding then grows with log₂ LANES and not with LANES, and the order of the
// additions is fixed, so that results are bit-exact from run to run. Subgroups would need fewer barriers, but how many
// lanes they have, and so the order, is the adapter's.
//
// A workgroup is LANES × ROWS invocations, LANES a power of two. Workgroup memory: 4 · LANES · ROWS bytes.

override LANES: u32 = 64;
override ROWS: u32 = 1;

var<workgroup> lane_sums: array<f32, LANES * ROWS>;

/// The sum of `value` over the lanes of a row, for each of them; `index` is that of the invocation in its workgroup. Every
/// invocation of the workgroup must call it, and pass a barrier before it calls it again.
fn lane_sum(value: f32, lane: u32, index: u32) -> f32 {
  lane_sums[index] = value;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if lane < half {
      lane_sums[index] += lane_sums[index + half];
    }
    workgroupBarrier();
  }
  return lane_sums[index - lane];
}
