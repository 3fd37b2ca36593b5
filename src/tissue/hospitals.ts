import { StylizingError } from "../errors.js";
import { bell, between, foldSeed, mulberry32, type Random } from "../random.js";

/** A colour or a stain as red, green and blue. */
export type Triple = readonly [number, number, number];

/** How a laboratory stains its sections and how its scanner records them. */
export interface Hospital {
  readonly name: string;
  /** Direction of haematoxylin's optical density in red, green and blue; need not be normalised. */
  readonly haematoxylin: Triple;
  /** Direction of eosin's optical density in red, green and blue; need not be normalised. */
  readonly eosin: Triple;
  /** Decadic optical density at concentration 1: about that of a dense lymphocyte nucleus. */
  readonly haematoxylinStrength: number;
  /** Decadic optical density at concentration 1: about that of a red blood cell. */
  readonly eosinStrength: number;
  /** Colour of bare glass, 0 to 255. */
  readonly whitePoint: Triple;
  /** Exponent of the scanner's response to transmitted light; above 1 darkens the middle tones. */
  readonly gamma: number;
  /** Factor on the distance from grey. */
  readonly saturation: number;
  /** Stray light as a fraction of white, which lifts the darkest tones. */
  readonly glare: number;
  /** Standard deviation of the optical blur in µm. */
  readonly blur: number;
  /** Sharpening of the scanner's software: factor on what the blur has removed, 0 for none. */
  readonly sharpening: number;
  /** Standard deviation of the sensor's noise in 8-bit levels. */
  readonly noise: number;
  /** How much the light falls off across a tile, as a fraction of the brightest side. */
  readonly illumination: number;
}

/**
 * Five laboratories as different as the five of Camelyon17. The stain vectors are round numbers near what the method of
 * Macenko et al. (2009) reads from lymph-node tiles, and lie around the classic ones of Ruifrok and Johnston (2001):
 * haematoxylin (0.65, 0.70, 0.29) and eosin (0.07, 0.99, 0.11).
 */
export const HOSPITALS: readonly Hospital[] = [
  {
    name: "rose",
    haematoxylin: [0.58, 0.7, 0.42],
    eosin: [0.28, 0.84, 0.46],
    haematoxylinStrength: 0.96,
    eosinStrength: 0.6,
    whitePoint: [253, 252, 252],
    gamma: 1.05,
    saturation: 1,
    glare: 0.01,
    blur: 0.3,
    sharpening: 0.5,
    noise: 2.2,
    illumination: 0.02,
  },
  {
    name: "plum",
    haematoxylin: [0.48, 0.77, 0.42],
    eosin: [0.25, 0.77, 0.58],
    haematoxylinStrength: 0.92,
    eosinStrength: 0.78,
    whitePoint: [247, 235, 243],
    gamma: 1.12,
    saturation: 0.92,
    glare: 0.02,
    blur: 0.36,
    sharpening: 0.2,
    noise: 2.8,
    illumination: 0.05,
  },
  {
    name: "violet",
    haematoxylin: [0.67, 0.69, 0.24],
    eosin: [0.16, 0.95, 0.22],
    haematoxylinStrength: 1.02,
    eosinStrength: 0.62,
    whitePoint: [243, 236, 250],
    gamma: 1,
    saturation: 1.12,
    glare: 0.01,
    blur: 0.34,
    sharpening: 0.3,
    noise: 1.6,
    illumination: 0.03,
  },
  {
    name: "slate",
    haematoxylin: [0.54, 0.74, 0.4],
    eosin: [0.17, 0.76, 0.62],
    haematoxylinStrength: 0.98,
    eosinStrength: 0.46,
    whitePoint: [253, 248, 247],
    gamma: 1.02,
    saturation: 0.94,
    glare: 0.005,
    blur: 0.3,
    sharpening: 0.7,
    noise: 3,
    illumination: 0.02,
  },
  {
    name: "lavender",
    haematoxylin: [0.66, 0.69, 0.3],
    eosin: [0.14, 0.93, 0.33],
    haematoxylinStrength: 0.46,
    eosinStrength: 0.28,
    whitePoint: [232, 222, 240],
    gamma: 1,
    saturation: 1.05,
    glare: 0.03,
    blur: 0.36,
    sharpening: 0.1,
    noise: 1.2,
    illumination: 0.02,
  },
];

function lean(random: Random, vector: Triple, amount: number): Triple {
  const [r, g, b] = vector;
  const move = (v: number) => Math.max(0.02, v + amount * bell(random));
  return [move(r), move(g), move(b)];
}

/**
 * Draws a hospital that exists nowhere: stain vectors between those of the presets with some freedom around them, and a
 * scanner of its own.
 * @param seed any finite number; the same seed gives the same hospital everywhere
 */
export function randomHospital(seed: number): Hospital {
  if (!Number.isFinite(seed)) throw new StylizingError("ARGUMENT", `The seed cannot be ${seed}.`, "Pass a finite number.");
  const random = mulberry32(foldSeed(seed, 0x40b));
  const one = HOSPITALS[Math.floor(random() * HOSPITALS.length)]!;
  const two = HOSPITALS[Math.floor(random() * HOSPITALS.length)]!;
  const t = random();
  const blend = (a: Triple, b: Triple): Triple => [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])];
  const bright = between(random, 228, 254);
  const tint = (amount: number) => Math.min(255, Math.max(205, bright + amount * bell(random)));
  let haematoxylin = one.haematoxylin;
  let eosin = one.eosin;
  // Haematoxylin is the bluer of the two by some margin (it takes more red for the green it takes), or nuclei would vanish.
  do {
    haematoxylin = lean(random, blend(one.haematoxylin, two.haematoxylin), 0.05);
    eosin = lean(random, blend(one.eosin, two.eosin), 0.06);
  } while (haematoxylin[0] / haematoxylin[1] < eosin[0] / eosin[1] + 0.15);
  return {
    name: `random ${seed}`,
    haematoxylin,
    eosin,
    haematoxylinStrength: between(random, 0.48, 1.15),
    eosinStrength: between(random, 0.3, 0.78),
    whitePoint: [tint(4), tint(6), tint(4)],
    gamma: between(random, 0.88, 1.2),
    saturation: between(random, 0.82, 1.18),
    glare: 0.05 * random() * random(),
    blur: between(random, 0.22, 0.6),
    sharpening: between(random, 0, 0.7),
    noise: between(random, 0.8, 3.6),
    illumination: between(random, 0, 0.07),
  };
}

/** One tile's deviation from its hospital: sections are cut and stained by hand, batch after batch. */
export function jitterHospital(hospital: Hospital, seed: number): Hospital {
  const random = mulberry32(foldSeed(seed, 0x51d));
  return {
    ...hospital,
    haematoxylin: lean(random, hospital.haematoxylin, 0.008),
    eosin: lean(random, hospital.eosin, 0.01),
    haematoxylinStrength: hospital.haematoxylinStrength * (1 + 0.05 * bell(random)),
    eosinStrength: hospital.eosinStrength * (1 + 0.06 * bell(random)),
    blur: hospital.blur * (1 + 0.12 * bell(random)),
  };
}
