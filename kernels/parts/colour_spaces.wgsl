// Colour spaces of an 8-bit colour, there and back; SPACE says which. Public tables: sRGB and CIE L*a*b* of D65; Ruderman's opponent space as
// Reinhard et al. 2001 use it (cone responses, decadic logarithms, rgb raised to 1/255), with the inverse computed, not the one in print;
// densities of Macenko et al. 2009, of Beer and Lambert, and decadic ones.
//
// tables [256] vec4f, by level I, computed in float64: sRGB's linear value, -ln((I + 1) / 240), -ln(max(I, 1) / 255) and -log10 of the same.
// What WGSL says of the error of log, exp and pow then counts only where a value is no level any more.

const RGB = 0u;
const LAB = 1u;
/// L · 2.55, a + 128, b + 128.
const LAB8 = 2u;
const OPPONENT = 3u;
/// -ln((I + 1) / 240).
const MACENKO = 4u;
/// -ln(max(I, 1) / 255).
const DENSITY = 5u;
/// -log10(max(I, 1) / 255).
const DECADIC = 6u;

override SPACE: u32 = 0;

const LN10 = 2.302585092994046;

/// Rows: XYZ over the white point.
const TO_XYZ = array<vec3f, 3>(
  vec3f(0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
  vec3f(0.212671, 0.715160, 0.072169),
  vec3f(0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
);
const FROM_XYZ = array<vec3f, 3>(
  vec3f(3.0799803023, -1.5371515163, -0.542821308),
  vec3f(-0.9212477523, 1.8759900015, 0.0452473395),
  vec3f(0.0528904611, -0.2040413384, 1.151232012),
);
const TO_LMS = array<vec3f, 3>(
  vec3f(0.3811, 0.5783, 0.0402),
  vec3f(0.1967, 0.7244, 0.0782),
  vec3f(0.0241, 0.1288, 0.8444),
);
const FROM_LMS = array<vec3f, 3>(
  vec3f(4.4686698635, -3.5886759035, 0.1196043666),
  vec3f(-1.2197166276, 2.383087913, -0.1626301118),
  vec3f(0.0585084769, -0.261078439, 1.2056659085),
);
/// Rows of the orthogonal matrix of the opponent axes.
const AXES = array<vec3f, 3>(
  vec3f(0.5773502692, 0.5773502692, 0.5773502692),
  vec3f(0.4082482905, 0.4082482905, -0.8164965809),
  vec3f(0.7071067812, -0.7071067812, 0.0),
);

fn times(rows: array<vec3f, 3>, x: vec3f) -> vec3f {
  return vec3f(dot(rows[0], x), dot(rows[1], x), dot(rows[2], x));
}

/// One step of Newton behind pow, whose error a difference of two would show.
fn cube_root(t: vec3f) -> vec3f {
  let root = pow(t, vec3f(1.0 / 3.0));
  return root - (root * root * root - t) / (3.0 * root * root);
}

fn lab_of(linear: vec3f) -> vec3f {
  let t = times(TO_XYZ, linear);
  let f = select(7.787 * t + 16.0 / 116.0, cube_root(max(t, vec3f(0.008))), t > vec3f(0.008856));
  return vec3f(116.0 * f.y - 16.0, 500.0 * (f.x - f.y), 200.0 * (f.y - f.z));
}

fn rgb_of_lab(lab: vec3f) -> vec3f {
  let y = (lab.x + 16.0) / 116.0;
  let f = vec3f(y + lab.y / 500.0, y, y - lab.z / 200.0);
  let t = select((f - 16.0 / 116.0) / 7.787, f * f * f, f > vec3f(0.2068966));
  let linear = times(FROM_XYZ, t);
  return select(12.92 * linear, 1.055 * pow(max(linear, vec3f(0.003)), vec3f(1.0 / 2.4)) - 0.055, linear > vec3f(0.0031308));
}

/// A colour of three levels in the space.
fn forth(level: vec3u) -> vec3f {
  switch SPACE {
    case LAB, LAB8: {
      let lab = lab_of(vec3f(tables[level.x].x, tables[level.y].x, tables[level.z].x));
      return select(lab, lab * vec3f(2.55, 1.0, 1.0) + vec3f(0.0, 128.0, 128.0), SPACE == LAB8);
    }
    case OPPONENT: {
      return times(AXES, log(times(TO_LMS, vec3f(max(level, vec3u(1))) / 255.0)) / LN10);
    }
    case MACENKO: {
      return vec3f(tables[level.x].y, tables[level.y].y, tables[level.z].y);
    }
    case DENSITY: {
      return vec3f(tables[level.x].z, tables[level.y].z, tables[level.z].z);
    }
    case DECADIC: {
      return vec3f(tables[level.x].w, tables[level.y].w, tables[level.z].w);
    }
    default: {
      return vec3f(level) / 255.0;
    }
  }
}

/// Back to RGB, in [0, 1] where it is a colour; far outside, exponents are cut, which changes no level.
fn back(x: vec3f) -> vec3f {
  switch SPACE {
    case LAB: {
      return rgb_of_lab(x);
    }
    case LAB8: {
      return rgb_of_lab((clamp(x, vec3f(), vec3f(255.0)) - vec3f(0.0, 128.0, 128.0)) / vec3f(2.55, 1.0, 1.0));
    }
    case OPPONENT: {
      let logs = x.x * AXES[0] + x.y * AXES[1] + x.z * AXES[2];
      return times(FROM_LMS, exp(min(LN10 * logs, vec3f(20.0))));
    }
    case MACENKO: {
      return (240.0 * exp(min(-x, vec3f(20.0))) - 1.0) / 255.0;
    }
    case DENSITY: {
      return exp(min(-x, vec3f(20.0)));
    }
    case DECADIC: {
      return exp(min(-LN10 * x, vec3f(20.0)));
    }
    default: {
      return x;
    }
  }
}

/// The soft tissue weight of one pixel alone, glass being white; see parts/tissue.wgsl.
fn stained(level: vec3u) -> f32 {
  let v = vec3f(tables[level.x].z, tables[level.y].z, tables[level.z].z);
  let chroma = max(v.x, max(v.y, v.z)) - min(v.x, min(v.y, v.z));
  let dark = (v.x + v.y + v.z) / 3.0;
  return smoothstep(0.04, 0.1, chroma + 0.5 * max(0.0, dark - 0.25));
}
