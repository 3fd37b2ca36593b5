import { paste } from "../image/preprocess.js";
import type { PixelImage, Placement } from "../image/types.js";
import { writeArray } from "../net/pixels.js";
import { PIECE_WORDS, type Piece, PLACE_WORDS, type Place, pieceWords, placeWords, resultWordsOf } from "../ops/guided.js";
import { type GuidedBuffers, type GuidedShape, roomFor } from "./guided.js";
import type { Tile } from "./tiles.js";

/** An image, or a part of one, to be restored. */
export interface Item {
  /** Bytes at full size, [height, width, C], and where they lie in the image that the tiles are counted in. */
  content: Uint8Array;
  place: Placement;
  tiles: readonly Tile[];
  /** Numbers of what the model saw and painted among the device's images, and which pixel of them the first one is. */
  low: { content: number; painted: number; left: number; top: number };
}

/** What one run restores, laid out in the device's buffers. */
export interface Layout {
  shape: Pick<GuidedShape, "slots" | "contentWords" | "resultWords" | "words">;
  places: Place[];
  pieces: Piece[];
  /** Contents, each once however often it comes, and their first words. */
  contents: Map<Uint8Array, number>;
  /** Words of the results. */
  words: number;
}

/** Lays out items one behind the other, at whole words. */
export function layOut(items: readonly Item[], channels: number): Layout {
  const contents = new Map<Uint8Array, number>();
  const [places, pieces]: [Place[], Piece[]] = [[], []];
  let [contentWords, words, largest] = [0, 0, 0];
  for (const { content, place, tiles, low } of items) {
    let contentWord = contents.get(content);
    if (contentWord === undefined) {
      contentWord = contentWords;
      contents.set(content, contentWord);
      contentWords += Math.ceil(content.length / 4);
    }
    for (const tile of tiles) {
      const { full, map } = tile;
      places.push({
        rectangle: { left: 0, top: 0, width: tile.low.width, height: tile.low.height },
        ...{ column: tile.low.left - low.left, row: tile.low.top - low.top },
        ...{ content: low.content, painted: low.painted },
      });
      pieces.push({
        ...{ contentWord, resultWord: words, width: full.width, height: full.height },
        ...{ column: full.left - place.left, row: full.top - place.top },
        ...{ contentWidth: place.width, contentHeight: place.height },
        ...map,
      });
      const own = resultWordsOf(full.width, full.height, channels);
      words += own;
      largest = Math.max(largest, own);
    }
  }
  const shape = {
    ...{ slots: roomFor(pieces.length), contentWords: roomFor(contentWords) },
    ...{ resultWords: roomFor(words), words: roomFor(largest) },
  };
  return { shape, places, pieces, contents, words };
}

/** Puts a layout's contents and tables on the device: of the slots behind it, that there is nothing. */
export function writeLayout(queue: GPUQueue, buffers: GuidedBuffers, { shape, places, pieces, contents }: Layout): void {
  for (const [content, word] of contents) writeArray(queue, buffers.full, content, 4 * word);
  const [placed, cut] = [new Uint32Array(shape.slots * PLACE_WORDS), new Uint32Array(shape.slots * PIECE_WORDS)];
  placed.set(placeWords(places));
  cut.set(pieceWords(pieces));
  queue.writeBuffer(buffers.places, 0, placed);
  queue.writeBuffer(buffers.pieces, 0, cut);
}

/** The pixels of every piece in what was read back, where they lie; rows that did not fill four pixels are moved together. */
export const pixelsOfPieces = (
  { pieces }: { pieces: readonly Pick<Piece, "resultWord" | "width" | "height">[] },
  bytes: Uint8Array,
  channels: number,
): Uint8Array[] =>
  pieces.map(({ resultWord, width, height }) => {
    const first = 4 * resultWord;
    const [stride, room] = [width * channels, 4 * resultWordsOf(width, 1, channels)];
    if (room > stride)
      for (let y = 1; y < height; y++) bytes.copyWithin(first + y * stride, first + y * room, first + y * room + stride);
    return bytes.subarray(first, first + stride * height);
  });

/**
 * An image of its tiles' pixels: theirs where there is one, else an array of its own.
 * @param make makes room for that one.
 */
export function assemble(
  tiles: readonly Tile[],
  pixels: readonly Uint8Array[],
  { width, height, channels }: Omit<PixelImage, "data">,
  make: (bytes: number) => Uint8Array,
): PixelImage {
  let data = pixels[0]!;
  if (tiles.length > 1) {
    data = make(width * height * channels);
    const target = { data, place: { left: 0, top: 0, width, height } };
    for (const [index, { full }] of tiles.entries()) paste(pixels[index]!, full, channels, target);
  }
  return { data, width, height, channels };
}
