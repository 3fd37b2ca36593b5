import { roomFor } from "../detail/guided.js";
import type { PixelImage } from "../image/types.js";
import { resultWordsOf } from "../ops/guided.js";
import { CHUNK, CHUNK_WORDS, IMAGE_WORDS, JOB_WORDS, NO_SLOT } from "../ops/restyle.js";
import type { Asked } from "./ways.js";

/** One image to be restyled. */
export interface Item {
  content: PixelImage;
  asked: Asked;
  strength: number;
  /** Its style's number among the batch's styles, those that are kept behind those that are images. */
  style: number | undefined;
  /** Half the band of Fourier domain adaptation, where it is that. */
  band: number | undefined;
}

/** What a program has room for; programs of one room are one. */
export interface Room {
  /** Images to be restyled; images, styles among them; those and kept statistics. */
  items: number;
  images: number;
  slots: number;
  chunks: number;
  contentWords: number;
  resultWords: number;
  /** Words of the largest result. */
  words: number;
  /** Coefficients of rows and of images of Fourier sums, the most of one, and twiddle factors. */
  rows: number;
  coefficients: number;
  each: number;
  twiddles: number;
}

/** A batch laid out for the device: everything that changes from one to the next. */
export interface Batch {
  room: Room;
  content: Uint8Array;
  images: Uint32Array;
  chunks: Uint32Array;
  jobs: Float32Array;
  twiddles: Float32Array;
  /** Where results lie among the words that are read back. */
  pieces: { resultWord: number; width: number; height: number }[];
  resultWords: number;
  /** The slot of a style, by its number; those that are kept lie behind all that a program measures. */
  slotOf(style: number): number;
}

/** Images of one submission, contents or styles, however small they are: a grid counts them. */
export const MOST_IMAGES = 1024;

/** Words that an image's bytes take. */
export const wordsOf = ({ data }: PixelImage): number => Math.ceil(data.length / 4);

/** Coefficients of a band: of rows, and of the image. */
export const coefficientsOf = ({ height }: PixelImage, band: number): [rows: number, all: number] => [
  height * (band + 1),
  (2 * band + 1) * (band + 1),
];

/**
 * Lays out images one behind the other: contents, then styles.
 * @param kept how many statistics of styles are there already
 */
export function layOut(items: readonly Item[], styles: readonly PixelImage[], kept: number): Batch {
  const all = [...items.map(({ content }) => content), ...styles];
  const bands = [...items.map(({ band }) => band), ...styles.map((_, index) => bandOfStyle(items, index))];
  const table: number[] = [];
  const chunks: number[] = [];
  const pieces: Batch["pieces"] = [];
  const factors = new Map<string, { first: number; width: number; height: number }>();
  let [contentWords, resultWords, words, rows, coefficients, each, twiddles] = [0, 0, 0, 0, 0, 0, 0];
  for (const [slot, image] of all.entries()) {
    const { width, height, channels } = image;
    const pixels = width * height;
    const count = Math.ceil(pixels / CHUNK);
    const band = bands[slot];
    const sides = `${width} ${height}`;
    if (band !== undefined && !factors.has(sides)) {
      factors.set(sides, { first: twiddles, width, height });
      twiddles += width + height;
    }
    table.push(contentWords, resultWords, width, height);
    table.push(chunks.length / CHUNK_WORDS, count, pixels, factors.get(sides)?.first ?? 0);
    table.push(rows, coefficients, band ?? 0, 0);
    for (let chunk = 0; chunk < count; chunk++) chunks.push(slot, chunk * CHUNK);
    contentWords += wordsOf(image);
    if (band !== undefined) {
      const [ofRows, ofImage] = coefficientsOf(image, band);
      rows += ofRows;
      coefficients += ofImage;
      each = Math.max(each, ofRows, ofImage);
    }
    if (slot >= items.length) continue;
    const own = resultWordsOf(width, height, channels);
    pieces.push({ resultWord: resultWords, width, height });
    resultWords += own;
    words = Math.max(words, own);
  }
  const room: Room = {
    ...{ items: roomFor(items.length), images: roomFor(all.length), slots: roomFor(all.length) + roomFor(kept) },
    ...{ chunks: roomFor(chunks.length / CHUNK_WORDS), contentWords: roomFor(contentWords) },
    ...{ resultWords: roomFor(resultWords), words: roomFor(words) },
    ...{ rows: roomFor(rows), coefficients: roomFor(coefficients), each: roomFor(each), twiddles: roomFor(twiddles) },
  };
  const content = new Uint8Array(4 * contentWords);
  for (const [slot, { data }] of all.entries()) content.set(data, 4 * table[slot * IMAGE_WORDS]!);
  const images = new Uint32Array(room.images * IMAGE_WORDS);
  images.set(table);
  const placed = new Uint32Array(room.chunks * CHUNK_WORDS).fill(NO_SLOT);
  placed.set(chunks);
  const jobs = new Float32Array(room.items * JOB_WORDS);
  const slotOf = (style: number) => (style < styles.length ? items.length + style : room.images + style - styles.length);
  for (const [index, item] of items.entries()) jobs.set(jobWords(item, slotOf), index * JOB_WORDS);
  const turns = new Float32Array(2 * room.twiddles);
  for (const { first, width, height } of factors.values()) turns.set([...turnsOf(width), ...turnsOf(height)], 2 * first);
  return { room, content, images, chunks: placed, jobs, twiddles: turns, pieces, resultWords, slotOf };
}

/** A style of Fourier sums is of its content's size, and takes its band. */
const bandOfStyle = (items: readonly Item[], style: number): number | undefined =>
  items.find((item) => item.style === style)?.band;

/** See kernels/parts/restyle_jobs.wgsl. */
function jobWords({ asked: { rows, given }, strength, style }: Item, slotOf: Batch["slotOf"]): Float32Array {
  const words = new Float32Array(JOB_WORDS);
  words.set([style === undefined ? -1 : slotOf(style), Number(given[0]) + 2 * Number(given[1]), strength, 1]);
  for (const [row, numbers] of rows.entries()) words.set(numbers, 4 * (row + 1));
  return words;
}

/** cos and sin of 2π j / n. */
function turnsOf(n: number): number[] {
  return Array.from({ length: 2 * n }, (_, at) => {
    const angle = (2 * Math.PI * Math.floor(at / 2)) / n;
    return at % 2 === 0 ? Math.cos(angle) : Math.sin(angle);
  });
}
