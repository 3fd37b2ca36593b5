import type { Recorder } from "../net/recorder.js";
import { COEFFICIENT, fourierApply, fourierBack, fourierColumns, fourierRows, fourierSwap } from "../ops/fourier.js";
import { LEVEL_COUNTS, LEVEL_NUMBERS, levelCounts, levelTables, relevel } from "../ops/levels.js";
import {
  CHUNK_WORDS,
  colourMoments,
  colourStatistics,
  IMAGE_WORDS,
  JOB_WORDS,
  levelTable,
  type MomentsShape,
  momentRecipe,
  recolour,
  STATISTICS_WORDS,
} from "../ops/restyle.js";
import { STAIN_COUNTS, stainCounts, stainFit, stainRecipe, stainSelect, TARGET_WORDS } from "../ops/stains.js";
import type { Room } from "./batch.js";
import { flatOf, type Way } from "./ways.js";

/** What a program is made for. */
export interface RestyleShape {
  way: Way;
  channels: 1 | 3;
  /** The colour of bare glass in [0, 1], which stays as it is. */
  background: readonly number[] | undefined;
  skipBlank: boolean;
  room: Room;
  /** Whether only statistics are wanted, which a bank keeps. */
  statistics: boolean;
}

/** Rewritten before every run, and read behind it. */
export interface RestyleBuffers {
  content: GPUBuffer;
  images: GPUBuffer;
  chunks: GPUBuffer;
  jobs: GPUBuffer;
  twiddles: GPUBuffer | undefined;
  result: GPUBuffer;
  /** Zero before every run. */
  counts: GPUBuffer | undefined;
  /** By slot: what a style says. */
  statistics: GPUBuffer | undefined;
  /** Of Colorist: means and deviations, by image. */
  numbers: GPUBuffer | undefined;
}

/** 32-bit words that a way keeps of a style; 0 where that is its image. */
export const recordWords = ({ kind }: Way): number =>
  kind === "levels" ? LEVEL_COUNTS : kind === "moments" || kind === "stains" ? STATISTICS_WORDS : 0;

/** Emits all steps of a batch: statistics of contents and styles, what follows from both, and the results. */
export function recordRestyle(
  r: Recorder,
  { way, channels, background, skipBlank, room, statistics: only }: RestyleShape,
): RestyleBuffers {
  const words = (name: string, count: number) => r.scratch(`restyle ${name}`, 1, count, "f32").buffer;
  const content = words("content", room.contentWords);
  const images = words("images", room.images * IMAGE_WORDS);
  const chunks = words("chunks", room.chunks * CHUNK_WORDS);
  const jobs = words("jobs", room.items * JOB_WORDS);
  const result = words("result", room.resultWords);
  const buffers: RestyleBuffers = {
    ...{ content, images, chunks, jobs, result },
    ...{ twiddles: undefined, counts: undefined, statistics: undefined, numbers: undefined },
  };
  const tables = r.constant("levels in colour spaces", levelTable());
  const pixels = { channels, content, images, chunks, count: room.chunks };
  const target = { channels, content, images, jobs, result, count: room.items, words: room.words, background };

  const measure = (statistics: GPUBuffer, { space, weight }: Pick<MomentsShape, "space" | "weight">) => {
    const sums = words("sums", room.chunks * 12);
    r.emit(colourMoments, { ...pixels, space, weight, tables, sums });
    r.emit(colourStatistics, { sums, images, count: room.images, statistics });
  };
  const skip = () => {
    if (!skipBlank || only) return;
    const tissue = words("tissue", room.images * STATISTICS_WORDS);
    measure(tissue, { space: "rgb", weight: "tissue" });
    r.emit(momentRecipe, { statistics: tissue, jobs, count: room.items, recipe: "tissue", weighted: false, flat: 0 });
  };

  if (way.kind === "levels") {
    const counts = words("level counts", room.slots * LEVEL_COUNTS);
    r.emit(levelCounts, { ...pixels, counts });
    if (only) return { ...buffers, counts, statistics: counts };
    skip();
    const [table, numbers] = [words("level tables", room.items * LEVEL_COUNTS), words("numbers", room.items * LEVEL_NUMBERS)];
    r.emit(levelTables, { counts, jobs, table, numbers, count: room.items, recipe: way.recipe });
    r.emit(relevel, { ...target, table });
    return { ...buffers, counts, statistics: counts, numbers };
  }
  if (way.kind === "given") {
    skip();
    r.emit(recolour, { ...target, tables, space: way.recolour, change: way.change });
    return buffers;
  }
  const statistics = words("statistics", room.slots * STATISTICS_WORDS);
  if (way.kind === "moments") {
    measure(statistics, way);
    if (only) return { ...buffers, statistics };
    skip();
    const [weighted, flat] = [way.weight === "tissue", flatOf(way.space)];
    r.emit(momentRecipe, { statistics, jobs, count: room.items, recipe: way.recipe, weighted, flat });
    r.emit(recolour, { ...target, tables, space: way.recolour, change: "none" });
    return { ...buffers, statistics };
  }
  if (way.kind === "stains") {
    const counts = words("stain counts", room.images * STAIN_COUNTS);
    const targets = words("stain targets", room.images * TARGET_WORDS);
    const fit = { targets, statistics, count: room.images };
    measure(statistics, { space: "macenko", weight: "macenko" });
    r.emit(stainFit, { ...fit, step: "plane" });
    for (const [of, step] of [
      ["angles", "stains"],
      ["concentrations", "most"],
    ] as const) {
      for (let bits = 0; bits < 3; bits++) {
        r.emit(stainCounts, { ...pixels, tables, statistics, targets, counts, slots: room.images, bits, of });
        r.emit(stainSelect, { counts, targets, slots: room.images, bits, of });
      }
      r.emit(stainFit, { ...fit, step });
    }
    if (only) return { ...buffers, counts, statistics };
    skip();
    r.emit(stainRecipe, { statistics, jobs, count: room.items, recipe: way.recipe });
    r.emit(recolour, { ...target, tables, space: "macenko", change: way.change });
    return { ...buffers, counts, statistics };
  }
  const twiddles = words("twiddles", 2 * room.twiddles);
  const [rows, coefficients, changes] = (["rows", "coefficients", "changes"] as const).map((name) =>
    words(`fourier ${name}`, COEFFICIENT * (name === "rows" ? room.rows : room.coefficients)),
  ) as [GPUBuffer, GPUBuffer, GPUBuffer];
  measure(statistics, { space: "rgb", weight: "all" });
  skip();
  const { each } = room;
  r.emit(fourierRows, { channels, content, images, statistics, twiddles, rows, count: room.images, each });
  r.emit(fourierColumns, { images, rows, twiddles, coefficients, count: room.images, each });
  r.emit(fourierSwap, { images, jobs, statistics, coefficients, changes, count: room.items, each });
  r.emit(fourierBack, { images, changes, twiddles, rows, count: room.items, each });
  r.emit(fourierApply, { ...target, rows, twiddles });
  return { ...buffers, twiddles };
}
