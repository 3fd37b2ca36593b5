// Recipes of Macenko's stains, of densities D with concentrations C = D · pinv(S).
//
//   METHOD 0  normalise: C' = C · most_t / most, back with the target's stains
//   METHOD 1  augment: C' = C + w (C (α - 1) + β), back with its own
//
// An image without stains declines; so does one whose style is needed and has none.
//
// statistics: kernels/stain_fit.wgsl, of contents in the first slots; jobs: parts/restyle_jobs.wgsl; numbers asked for:
//   METHOD 0  H and its most, E and its most: the stains are the first that may be given, both mosts the second
//   METHOD 1  α of both stains, β of both stains
// One invocation: one image. Workgroup memory: none. Generated in front: parts/restyle_jobs.

override METHOD: u32 = 0;

struct Parameters {
  images_count: u32,
}

@group(0) @binding(0) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> jobs: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

@compute @workgroup_size(64)
fn stain_recipe(@builtin(global_invocation_id) id: vec3u) {
  if id.x >= p.images_count {
    return;
  }
  let job = 8 * id.x;
  let h = statistics[job + 4];
  let e = statistics[job + 5];
  let row_h = statistics[job + 6];
  let row_e = statistics[job + 7].xyz;
  if row_h.w == 0.0 {
    jobs[job].w = 0.0;
    return;
  }
  if METHOD == 1 {
    let numbers = jobs[job + 1];
    for (var j = 0u; j < 3; j++) {
      let from_h = h[j] * row_h.xyz;
      let from_e = e[j] * row_e;
      jobs[job + 1 + j] = vec4f(from_h + from_e, 0.0);
      let change = (numbers.x - 1.0) * from_h + (numbers.y - 1.0) * from_e;
      jobs[job + 4 + j] = vec4f(change, numbers.z * h[j] + numbers.w * e[j]);
    }
    return;
  }
  let head = jobs[job];
  var goal_h = jobs[job + 1];
  var goal_e = jobs[job + 2];
  let needed = !(first_given(head.y) && second_given(head.y));
  if needed && head.x >= 0.0 {
    let style = 8 * u32(head.x);
    if statistics[style + 6].w == 0.0 {
      jobs[job].w = 0.0;
      return;
    }
    if !first_given(head.y) {
      goal_h = vec4f(statistics[style + 4].xyz, goal_h.w);
      goal_e = vec4f(statistics[style + 5].xyz, goal_e.w);
    }
    if !second_given(head.y) {
      goal_h.w = statistics[style + 4].w;
      goal_e.w = statistics[style + 5].w;
    }
  }
  for (var j = 0u; j < 3; j++) {
    jobs[job + 1 + j] = vec4f(goal_h.w / h.w * goal_h[j] * row_h.xyz + goal_e.w / e.w * goal_e[j] * row_e, 0.0);
  }
}
