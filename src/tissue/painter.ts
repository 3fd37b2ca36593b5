import { StylizingError } from "../errors.js";
import { foldSeed } from "../random.js";
import { paintAnatomy } from "./anatomy.js";
import type { NucleusKind } from "./cells.js";
import { HOSPITALS, type Hospital } from "./hospitals.js";
import type { TissueKind } from "./layout.js";
import { scan } from "./scanner.js";

export type { NucleusKind } from "./cells.js";
export { HOSPITALS, type Hospital, randomHospital, type Triple } from "./hospitals.js";
export type { TissueKind } from "./layout.js";

/** What `paintTissue` paints. */
export interface TissueOptions {
  /** Width and height in pixels, 1 to 4096 (default 224). At a fixed scale a larger tile shows more tissue. */
  size?: number;
  /** Any finite number (default 0). It alone decides the anatomy, and the tile's deviation from its hospital. */
  seed?: number;
  /** A hospital, or an index into `HOSPITALS` (default 0). It has no influence on the anatomy. */
  hospital?: Hospital | number;
  /**
   * Scale in µm per pixel, 0.1 to 4 (default 0.5, a 20× objective). A tile may be at most 4096 µm wide. Each pixel is one
   * sample: above about 1.5 µm, paint larger and shrink the tile if it must not alias.
   */
  micronsPerPixel?: number;
  /** What the tile shows (default `"mixed"`: the seed decides). */
  kind?: TissueKind;
}

/** A nucleus whose centre lies in the tile; position and mean radius in pixels. */
export interface Nucleus {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly kind: NucleusKind;
}

/** What the tile shows and where, whatever its stain. */
export interface TissueLabels {
  /** Side lengths in pixels. */
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly micronsPerPixel: number;
  /** `[height, width]`: 1 where a pixel belongs to tumour epithelium, 0 elsewhere. */
  readonly tumourMask: Uint8Array;
  /** Fraction of ones in `tumourMask`. */
  readonly tumourFraction: number;
  /** All nuclei, in the order in which they were placed. */
  readonly nuclei: readonly Nucleus[];
}

/** The anatomy of a tile before it is stained: the ground truth that all hospitals share. */
export interface TissueConcentrations extends TissueLabels {
  /** `[height, width]`: concentration of haematoxylin, 1 in a dense lymphocyte nucleus. */
  readonly haematoxylin: Float32Array;
  /** `[height, width]`: concentration of eosin, 1 in a red blood cell. */
  readonly eosin: Float32Array;
}

/** A stained and scanned tile. */
export interface TissueTile extends TissueLabels {
  /** `[height, width, 3]`: red, green and blue bytes. */
  readonly data: Uint8Array;
  readonly channels: 3;
  /** The hospital as asked for, without the tile's own deviation. */
  readonly hospital: Hospital;
}

const KINDS: readonly TissueKind[] = ["mixed", "lymphoid", "stroma", "gland", "tumour"];

function bad(problem: string, fix: string): StylizingError {
  return new StylizingError("ARGUMENT", problem, fix);
}

/** The numbers of a hospital and the largest value of each that still means something. */
const LIMITS = {
  haematoxylinStrength: 10,
  eosinStrength: 10,
  gamma: 10,
  saturation: 10,
  glare: 1,
  blur: 50,
  sharpening: 10,
  noise: 255,
  illumination: 1,
} as const;

function hospitalOf(hospital: Hospital | number): Hospital {
  if (typeof hospital !== "number") {
    const within = (value: unknown, most: number) => typeof value === "number" && value >= 0 && value <= most;
    const colour = (value: unknown) =>
      Array.isArray(value) && value.length === 3 && value.every((v) => within(v, 255)) && value.some((v) => v > 0);
    const numbers = Object.entries(LIMITS) as [keyof typeof LIMITS, number][];
    const wrong =
      (["haematoxylin", "eosin", "whitePoint"] as const).find((key) => !colour(hospital?.[key])) ??
      numbers.find(([key, most]) => !within(hospital[key], most))?.[0];
    if (wrong) throw bad(`The hospital's ${wrong} is missing or out of range.`, "Start from HOSPITALS or randomHospital().");
    return hospital;
  }
  const preset = HOSPITALS[hospital];
  if (!preset) throw bad(`There is no hospital ${hospital}.`, `Pass an index from 0 to ${HOSPITALS.length - 1}, or a Hospital.`);
  return preset;
}

/**
 * Paints the anatomy of a tile without a stain. The result depends on `seed`, `kind`, `size` and `micronsPerPixel` only,
 * and is the same to the last bit on every machine; `hospital` is checked and otherwise ignored.
 */
export function paintConcentrations(options: TissueOptions = {}): TissueConcentrations {
  const { size = 224, seed = 0, kind = "mixed", micronsPerPixel = 0.5, hospital = 0 } = options;
  if (!Number.isInteger(size) || size < 1 || size > 4096) {
    throw bad(`The size of a tile cannot be ${size}.`, "Pass a whole number of pixels from 1 to 4096.");
  }
  if (!Number.isFinite(seed)) throw bad(`The seed cannot be ${seed}.`, "Pass a finite number.");
  if (!KINDS.includes(kind)) throw bad(`There is no tissue kind "${kind}".`, `Pass one of ${KINDS.join(", ")}.`);
  if (!(micronsPerPixel >= 0.1 && micronsPerPixel <= 4)) {
    throw bad(`The scale cannot be ${micronsPerPixel} µm per pixel.`, "Pass a number from 0.1 to 4.");
  }
  if (size * micronsPerPixel > 4096) {
    throw bad(`${size} pixels of ${micronsPerPixel} µm are more than 4096 µm of tissue.`, "Pass a smaller size or scale.");
  }
  hospitalOf(hospital);
  const { cells, tumourArea, ...maps } = paintAnatomy(kind, foldSeed(seed, 0xa7a), size, size, micronsPerPixel);
  const nuclei: Nucleus[] = [];
  for (const cell of cells) {
    const x = cell.x / micronsPerPixel;
    const y = cell.y / micronsPerPixel;
    if (cell.kind === "red cell" || x < 0 || y < 0 || x >= size || y >= size) continue;
    nuclei.push({ x, y, radius: Math.sqrt(cell.a * cell.b) / micronsPerPixel, kind: cell.kind });
  }
  return { width: size, height: size, seed, micronsPerPixel, ...maps, tumourFraction: tumourArea / (size * size), nuclei };
}

/**
 * Stains a painted anatomy as a hospital would: the second half of `paintTissue`, for several stains of one anatomy.
 *
 * Light that passes the section is dimmed by the Beer–Lambert law: the optical density of a colour channel is the sum over
 * the stains of concentration × the stain's vector (Ruifrok & Johnston, "Quantification of histochemical staining by color
 * deconvolution", 2001). The scanner adds its white point, response, blur and noise.
 * @param hospital a hospital or an index into `HOSPITALS`
 * @param seed the tile's deviation from its hospital (default: the anatomy's own seed)
 */
export function stainTissue(anatomy: TissueConcentrations, hospital: Hospital | number, seed = anatomy.seed): TissueTile {
  const chosen = hospitalOf(hospital);
  if (!Number.isFinite(seed)) throw bad(`The seed cannot be ${seed}.`, "Pass a finite number.");
  const { haematoxylin, eosin, ...labels } = anatomy;
  const data = scan(haematoxylin, eosin, labels.width, labels.height, labels.micronsPerPixel, chosen, seed);
  return { data, channels: 3, hospital: chosen, ...labels };
}

/**
 * Paints a tile of H&E-like tissue with labels: procedural, free of any licence, deterministic. The same seed in two
 * hospitals is the same anatomy in two stains.
 *
 * ```ts
 * const here = paintTissue({ seed: 7, hospital: 0 });
 * const there = paintTissue({ seed: 7, hospital: randomHospital(1) });
 * ```
 */
export function paintTissue(options: TissueOptions = {}): TissueTile {
  const { hospital = 0 } = options;
  return stainTissue(paintConcentrations(options), hospital);
}
