import type { LowImages } from "../detail/restorer.js";
import { around } from "../detail/restorer.js";
import { type Tile, type TileRow, tileRows } from "../detail/tiles.js";
import { blendWeights } from "../detail/windows.js";
import { mirrored } from "../image/preprocess.js";
import { tissueWeights } from "../image/tissue-weight.js";
import { type Region, type RowSource, reusedBytes, wholeOf } from "../image/types.js";
import { Rows } from "./rows.js";

export interface LargePainting {
  channels: 1 | 3;
  /** At its full size, and at the scale that the model sees it at; one object where that is the same. */
  full: RowSource;
  low: RowSource;
  /** Side of the model's square, and the radius of guided detail. */
  side: number;
  radius: number;
  skipBlank: boolean;
  /** Paints windows into `results`, [count, S, S, C]. Each one, [S, S, C], is cut when it is asked for, and lies where its result goes. */
  paint(count: number, window: (index: number) => Uint8Array, results: Uint8Array): Promise<void>;
  restoreRow(tiles: readonly Tile[], content: Region<Uint8Array>, low: LowImages, target: Region<Uint8Array>): Promise<void>;
  signal?: AbortSignal | undefined;
  /** Windows done, of all; those that were left out as blank count, and are counted. */
  onProgress?: ((done: number, total: number, blank: number) => void) | undefined;
}

/** Rows of a result, which stay until the band after the next one is asked for: one is written while another is made. */
export interface Band {
  top: number;
  rows: number;
  /** [rows, width, C] */
  data: Uint8Array;
}

/** Pixels of a band of the result, at most: what is in memory at a time grows with an image's width alone. */
const BAND_PIXELS = 2 ** 22;
/** Rows of what the model sees that are read at a time. */
const STEP = 8;
/** A window has tissue where more than this share of it does. */
const LEAST_TISSUE = 1e-3;

const hasTissue = (data: Uint8Array, side: number, channels: 1 | 3): boolean => {
  const weights = tissueWeights({ data, width: side, height: side, channels });
  return weights.reduce((count, weight) => count + Number(weight > 0.5), 0) > LEAST_TISSUE * weights.length;
};

/**
 * Paints an image larger than the model's square in overlapping windows, blends them by a raised cosine, and gives the result its content's
 * detail, from top to bottom. Only a few rows are in memory at a time.
 */
export async function* paintLarge(painting: LargePainting): AsyncGenerator<Band, void, undefined> {
  const { channels, full, low, side, radius, skipBlank, signal, onProgress } = painting;
  const { width, height } = low;
  const overlap = Math.floor(side / 4);
  const [across, down] = [blendWeights(width, side, overlap), blendWeights(height, side, overlap)];
  const mapping = { width: full.width, height: full.height, source: wholeOf(full), low: wholeOf(low) };
  const tiles = tileRows(mapping, radius, Math.max(64, Math.floor(BAND_PIXELS / full.width)));
  // A side shorter than a window is mirrored up to it; a longer one is read as it is.
  const reach = (size: number) => mirrored(size < side ? (side - size) >> 1 : 0, size, Math.max(size, side));
  const [columns, lines] = [reach(width), reach(height)];
  // Memory that nothing is written to costs nothing.
  const most = Math.min(height, side + Math.max(...tiles.map((line) => line.low.height)));
  const [content, painted] = [
    new Rows<Uint8Array>(Uint8Array, width * channels, most),
    new Rows<Float32Array>(Float32Array, width * channels, most),
  ];
  const [squares, bands] = [reusedBytes(), [reusedBytes(), reusedBytes()] as const];
  /** By row of windows: which of them have no tissue. */
  const blank: boolean[][] = [];
  let [done, skipped] = [0, 0];
  let next = 0;

  for (const [row, { origin: top, weights: rowWeights }] of down.entries()) {
    const end = Math.min(height, top + side);
    const known = content.end;
    content.extend(end);
    for (let at = known; at < end; at += STEP) {
      const to = Math.min(end, at + STEP);
      content.slice(at, to).set(await low.rows(at, to - at));
    }
    const windowOf = (column: number, window: Uint8Array) =>
      cutWindow(content, lines, columns, { top, left: across[column]!.origin, side, channels }, window);
    const each = side * side * channels;
    const empty = across.map((_, column) => skipBlank && !hasTissue(windowOf(column, squares(each)), side, channels));
    blank.push(empty);
    const chosen = [...across.keys()].filter((column) => !empty[column]);
    signal?.throwIfAborted();
    const results = squares(chosen.length * each);
    const resultOf = (at: number) => results.subarray(at * each, (at + 1) * each);
    if (chosen.length > 0) await painting.paint(chosen.length, (at) => windowOf(chosen[at]!, resultOf(at)), results);
    const windows = across.map(({ origin: left, weights }, column): Window => {
      const at = chosen.indexOf(column);
      return { left, weights, pixels: at < 0 ? undefined : resultOf(at) };
    });
    let added = top;
    /** Adds the windows' rows up to `to`: no more of them are floats than a row of tiles needs. */
    const add = (to: number) => {
      painted.extend(to);
      for (; added < to; added++)
        addRow(painted.row(added), content.row(added), windows, rowWeights, { row: added - top, side, channels, width, height });
    };
    done += across.length;
    skipped += across.length - chosen.length;
    onProgress?.(done, across.length * down.length, skipped);

    // No later window reaches what is above it.
    const final = row + 1 < down.length ? down[row + 1]!.origin : height;
    // What a tile's maps are made from reaches further than what its background is: two radii, and one is a pixel at least.
    const needed = () => (next < tiles.length ? Math.min(final, tiles[next]!.low.top) : height);
    while (next < tiles.length && bottom(tiles[next]!) <= final) {
      signal?.throwIfAborted();
      const line = tiles[next++]!;
      add(bottom(line));
      yield await restoreLine(painting, line.tiles(), content, painted, bands[next % 2]!, (tile) =>
        isBlank(tile, across, down, side, blank),
      );
      painted.drop(needed());
    }
    add(end);
    content.drop(needed());
  }
}

/** A window of a row of them. */
interface Window {
  left: number;
  weights: Float32Array;
  /** What was painted; without it the content stays. */
  pixels: Uint8Array | undefined;
}

const bottom = ({ low }: Pick<TileRow, "low">): number => low.top + low.height;

/** Puts a window's pixels into `window`, mirrored where it reaches beyond the image. */
function cutWindow(
  content: Rows<Uint8Array>,
  lines: readonly number[],
  columns: readonly number[],
  { top, left, side, channels }: { top: number; left: number; side: number; channels: number },
  window: Uint8Array,
): Uint8Array {
  const plain = columns.length === content.stride / channels;
  for (let y = 0; y < side; y++) {
    const from = content.row(lines[top + y]!);
    if (plain) window.set(from.subarray(left * channels, (left + side) * channels), y * side * channels);
    else
      for (let x = 0; x < side; x++)
        for (let c = 0; c < channels; c++) window[(y * side + x) * channels + c] = from[columns[left + x]! * channels + c]!;
  }
  return window;
}

/** Adds a row of windows, weighted, as values in [0, 1]; what reaches beyond the image is left out. */
function addRow(
  line: Float32Array,
  content: Uint8Array,
  windows: readonly Window[],
  rowWeights: Float32Array,
  { row, side, channels, width, height }: { row: number; side: number; channels: number; width: number; height: number },
): void {
  const before = width < side ? (side - width) >> 1 : 0;
  const y = row + (height < side ? (side - height) >> 1 : 0);
  const rowWeight = rowWeights[y]! / 255;
  for (const { left, weights, pixels } of windows) {
    const source = pixels ? pixels.subarray((y * side + before) * channels) : content.subarray(left * channels);
    for (let x = 0, at = 0, to = left * channels; x < Math.min(side, width); x++) {
      const weight = rowWeight * weights[before + x]!;
      for (let c = 0; c < channels; c++) line[to++]! += weight * source[at++]!;
    }
  }
}

/** Whether nothing that a tile's maps are made from was painted. */
function isBlank(
  { low }: Tile,
  across: readonly { origin: number }[],
  down: readonly { origin: number }[],
  side: number,
  blank: readonly boolean[][],
): boolean {
  const meets = (from: number, size: number, origin: number) => origin < from + size && from < origin + side;
  return down.every(
    ({ origin: top }, row) =>
      !meets(low.top, low.height, top) ||
      across.every(({ origin: left }, column) => !meets(low.left, low.width, left) || (blank[row]?.[column] ?? false)),
  );
}

/** A row of tiles at the full size. */
async function restoreLine(
  { channels, full, low, restoreRow }: LargePainting,
  tiles: readonly Tile[],
  content: Rows<Uint8Array>,
  painted: Rows<Float32Array>,
  room: (bytes: number) => Uint8Array,
  untouched: (tile: Tile) => boolean,
): Promise<Band> {
  const { top, height: rows } = tiles[0]!.full;
  const place = around(tiles, wholeOf(full));
  const data = full === low ? content.slice(place.top, place.top + place.height) : await full.rows(place.top, place.height);
  const start = (top - place.top) * full.width * channels;
  const target = room(rows * full.width * channels);
  target.set(data.subarray(start, start + target.length));
  const first = tiles[0]!.low.top;
  const last = bottom(tiles[0]!);
  const seen = {
    content: content.slice(first, last),
    painted: painted.slice(first, last),
    place: { left: 0, top: first, width: low.width, height: last - first },
  };
  const touched = tiles.filter((tile) => !untouched(tile));
  const band = { data: target, place: { left: 0, top, width: full.width, height: rows } };
  if (touched.length > 0) await restoreRow(touched, { data, place }, seen, band);
  return { top, rows, data: target };
}
