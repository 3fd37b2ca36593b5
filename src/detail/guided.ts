import type { Recorder } from "../net/recorder.js";
import { guidedApply, guidedFit, guidedMoments, guidedSmooth, MAP4, MOMENTS4, PIECE_WORDS, PLACE_WORDS } from "../ops/guided.js";

/** What is added to the content's covariance, of values in [0, 1]: less contrast than its root is none. */
export const EPSILON = 1e-3;

/** Radius of the box windows, in pixels of the model: three quarters of a patch. */
export const guidedRadius = (patchSize: number): number => Math.floor(0.75 * patchSize + 0.5);

/** Bytes of moments at a time: slots beyond wait for those before. */
const MOMENTS_BYTES = 2 ** 26;
const FLOATS4 = 4 * Float32Array.BYTES_PER_ELEMENT;

/** What a program of guided detail is made for; what changes from run to run stands in `GuidedBuffers`. */
export interface GuidedShape {
  channels: 1 | 3;
  /** Images or tiles, their size, and the sides of the images that they lie in. */
  slots: number;
  height: number;
  width: number;
  rows: number;
  columns: number;
  radius: number;
  epsilon: number;
  /** The colour of bare glass in [0, 1], which stays as it is. */
  background?: readonly number[] | undefined;
  /** Room for contents and for results at their full size, in words, and for the result of the largest piece. */
  contentWords: number;
  resultWords: number;
  words: number;
}

/** Rewritten before every run. */
export interface GuidedBuffers {
  places: GPUBuffer;
  pieces: GPUBuffer;
  full: GPUBuffer;
  restored: GPUBuffer;
}

/** A few sizes instead of every one, an eighth apart at most: programs are made for them and kept. */
export function roomFor(count: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, count))) - 3);
  return Math.ceil(count / step) * step;
}

/**
 * Emits guided detail: from what a model saw and what it painted of it, both small, to the contents at their full size.
 * @param content [images, rows, columns, C] bytes
 * @param painted [images, rows, columns, C] f32 in [0, 1]
 */
export function recordGuided(r: Recorder, shape: GuidedShape, content: GPUBuffer, painted: GPUBuffer): GuidedBuffers {
  const { channels, slots, height, width, rows, columns, radius, epsilon, background, words: largest } = shape;
  const area = height * width;
  const each = Math.min(slots, Math.max(1, Math.floor(MOMENTS_BYTES / (area * MOMENTS4 * FLOATS4))));
  const scratch = (name: string, vectors: number) => r.scratch(name, each * area, 4 * vectors, "f32").buffer;
  const [moments, maps] = [scratch("moments", MOMENTS4), scratch("maps", MAP4)];
  const words = (name: string, count: number) => r.scratch(name, 1, count, "f32").buffer;
  const buffers = {
    places: r.constant("places", new Uint32Array(slots * PLACE_WORDS)),
    pieces: r.constant("pieces", new Uint32Array(slots * PIECE_WORDS)),
    full: words("full", shape.contentWords),
    restored: words("restored", shape.resultWords),
  };
  const { places, pieces } = buffers;
  r.section("detail", () => {
    for (let firstSlot = 0; firstSlot < slots; firstSlot += each) {
      const part = { slots: Math.min(each, slots - firstSlot), firstSlot, height, width, radius, places };
      r.emit(guidedMoments, { ...part, channels, rows, columns, content, painted, moments });
      r.emit(guidedFit, { ...part, moments, epsilon, coefficients: maps });
      // The moments have served: their room takes what is smoothed along rows.
      r.emit(guidedSmooth, { ...part, vertical: false, input: maps, output: moments });
      r.emit(guidedSmooth, { ...part, vertical: true, input: moments, output: maps });
      const { slots: count } = part;
      const { full, restored } = buffers;
      r.emit(guidedApply, {
        ...{ slots: count, firstSlot, height, width, channels, words: largest, background },
        ...{ content: full, coefficients: maps, pieces, result: restored },
      });
    }
  });
  return buffers;
}
