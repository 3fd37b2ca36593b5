// Recipes of methods that go by mean and deviation, and who declines by them.
//
//   METHOD 0  transfer: y = (x - μ) · σ_t / σ + μ_t, a channel with σ < `flat` is only shifted (Reinhard et al. 2001; RandStainNA, Shen et al. 2022)
//   METHOD 1  modified (Roy et al. 2021), LAB: L: μ + (L - μ)(1 + q), q = (σ_t - σ) / σ_t, or .05 where it or σ_t is not above 0; a, b are shifted
//   METHOD 2  declines where the mean over pixels and channels lies outside .15 to .85; the recipe is given (HED jitter, Faryna et al. 2021)
//   METHOD 3  declines where the mean weight is below 1 %: without tissue; the recipe stays
//
// With WEIGHTED also 0 and 1 decline where the image's or the style's mean weight is below 1 %; always where the style has no weight at all.
//
// statistics: kernels/colour_statistics.wgsl, of contents in the first slots; jobs: parts/restyle_jobs.wgsl; numbers asked for: μ_t, σ_t
// One invocation: one image. Workgroup memory: none. Generated in front: parts/restyle_jobs.

override METHOD: u32 = 0;
override WEIGHTED: bool = false;

struct Parameters {
  images_count: u32,
  flat: f32,
}

@group(0) @binding(0) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> jobs: array<vec4f>;
@group(1) @binding(0) var<uniform> p: Parameters;

const LEAST_TISSUE = 0.01;

fn decline(job: u32) {
  jobs[job].w = 0.0;
}

@compute @workgroup_size(64)
fn moment_recipe(@builtin(global_invocation_id) id: vec3u) {
  if id.x >= p.images_count {
    return;
  }
  let job = 8 * id.x;
  let mean = statistics[job].xyz;
  let deviation = statistics[job + 1];
  if METHOD == 3 {
    if deviation.w < LEAST_TISSUE {
      decline(job);
    }
    return;
  }
  if METHOD == 2 {
    let brightness = (mean.x + mean.y + mean.z) / 3.0;
    if brightness < 0.15 || brightness > 0.85 {
      decline(job);
    }
    return;
  }
  let head = jobs[job];
  var target_mean = jobs[job + 1].xyz;
  var target_deviation = jobs[job + 2].xyz;
  if head.x >= 0.0 {
    let style = 8 * u32(head.x);
    if !first_given(head.y) {
      target_mean = statistics[style].xyz;
    }
    if !second_given(head.y) {
      target_deviation = statistics[style + 1].xyz;
    }
    let needed = !(first_given(head.y) && second_given(head.y));
    if needed && (statistics[style].w == 0.0 || (WEIGHTED && statistics[style + 1].w < LEAST_TISSUE)) {
      decline(job);
    }
  }
  if WEIGHTED && deviation.w < LEAST_TISSUE {
    decline(job);
  }
  var gain = select(target_deviation / max(deviation.xyz, vec3f(p.flat)), vec3f(1.0), deviation.xyz < vec3f(p.flat));
  var goal = target_mean;
  if METHOD == 1 {
    var q = 0.05;
    if target_deviation.x > 0.0 {
      q = (target_deviation.x - deviation.x) / target_deviation.x;
    }
    gain = vec3f(1.0 + select(0.05, q, q > 0.0), 1.0, 1.0);
    goal.x = mean.x;
  }
  let shift = goal - gain * mean;
  jobs[job + 1] = vec4f(gain.x, 0.0, 0.0, shift.x);
  jobs[job + 2] = vec4f(0.0, gain.y, 0.0, shift.y);
  jobs[job + 3] = vec4f(0.0, 0.0, gain.z, shift.z);
}
