import type { Gpu } from "../gpu/gpu.js";
import { cutPixels, paste } from "../image/preprocess.js";
import { type PixelImage, type Placement, type Region, wholeOf } from "../image/types.js";
import { writeArray } from "../net/pixels.js";
import type { RunTiming } from "../net/run.js";
import { Runner } from "../net/runner.js";
import { runsOf } from "../runs.js";
import { type GuidedShape, recordGuided, roomFor } from "./guided.js";
import { layOut, pixelsOfPieces, writeLayout } from "./layout.js";
import { type Mapping, type Tile, tileRows } from "./tiles.js";

/** Choices of guided detail. */
export interface GuidedChoices {
  /** Of the box windows, in pixels that the model saw. */
  radius: number;
  epsilon: number;
  /** The colour of bare glass in [0, 1], which stays as it is; without it everything is painted. */
  background?: readonly number[] | undefined;
}

/** What a model saw of an image and what it painted of it, [height, width, C]: bytes, and floats in [0, 1]. */
export interface LowImages {
  content: Uint8Array;
  painted: Float32Array;
  place: Placement;
}

/** Bytes of content that are on the device at a time. */
const CONTENT_BYTES = 2 ** 26;
/** Pixels around a tile that the mean of the background reaches. */
const REACH = 2;

/** Guided detail of images that lie in host memory. It does not own its device. */
export class Restorer {
  readonly #runner: Runner;
  readonly #channels: 1 | 3;
  readonly #choices: GuidedChoices;

  constructor(gpu: Gpu, channels: 1 | 3, choices: GuidedChoices) {
    this.#runner = new Runner(gpu);
    this.#channels = channels;
    this.#choices = choices;
  }

  /** A whole image. @throws StylizingError `GPU`, `DEVICE_LOST`; the signal's reason when aborted. */
  async restore(content: PixelImage, mapping: Mapping, low: LowImages, signal?: AbortSignal): Promise<PixelImage> {
    const { width, height, channels } = content;
    const data = new Uint8Array(width * height * channels);
    const whole = wholeOf(content);
    for (const row of tileRows(mapping, this.#choices.radius)) {
      signal?.throwIfAborted();
      await this.restoreRow(row.tiles(), { data: content.data, place: whole }, low, { data, place: whole });
    }
    return { data, width, height, channels };
  }

  /**
   * A row of tiles, into a part of the result.
   * @param content the part of the image that the tiles are, and two pixels around them where there are some
   * @param low what the tiles' maps are made from
   * @param timing is added to
   */
  async restoreRow(
    tiles: readonly Tile[],
    content: Region<Uint8Array>,
    low: LowImages,
    target: Region<Uint8Array>,
    timing?: RunTiming | undefined,
  ): Promise<void> {
    const bytesOf = ({ full }: Tile) => full.width * full.height * this.#channels;
    for (const chunk of runsOf(tiles, CONTENT_BYTES, bytesOf)) {
      const results = await this.#run(
        chunk,
        this.#part(content, around(chunk, content.place)),
        this.#lowPart(low, chunk),
        timing,
      );
      for (const [index, { full }] of chunk.entries()) paste(results[index]!, full, this.#channels, target);
    }
  }

  /** A part of an image, where it lies if that is all of it. */
  #part<Data extends Uint8Array | Float32Array>({ data, place }: Region<Data>, part: Placement): Region<Data> {
    if (part.width === place.width && part.height === place.height) return { data, place };
    return { data: cutPixels({ data, place }, part, this.#channels), place: part };
  }

  /** What the maps of some tiles are made from. */
  #lowPart({ content, painted, place }: LowImages, tiles: readonly Tile[]): LowImages {
    const sides = (from: (tile: Tile) => number, size: (tile: Tile) => number) => {
      const first = Math.min(...tiles.map(from));
      return [first, Math.max(...tiles.map((tile) => from(tile) + size(tile))) - first] as const;
    };
    const [left, width] = sides(
      ({ low }) => low.left,
      ({ low }) => low.width,
    );
    const [top, height] = sides(
      ({ low }) => low.top,
      ({ low }) => low.height,
    );
    const part = { left, top, width, height };
    const seen = this.#part({ data: content, place }, part);
    return { content: seen.data, painted: this.#part({ data: painted, place }, part).data, place: seen.place };
  }

  /** The tiles' pixels, one after another. */
  async #run(tiles: readonly Tile[], content: Region<Uint8Array>, low: LowImages, timing?: RunTiming): Promise<Uint8Array[]> {
    const channels = this.#channels;
    const { place } = low;
    const item = {
      content: content.data,
      place: content.place,
      tiles,
      low: { content: 0, painted: 0, left: place.left, top: place.top },
    };
    const layout = layOut([item], channels);
    const longest = (of: (tile: Tile) => number) => 16 * Math.ceil(Math.max(...tiles.map(of)) / 16);
    const shape: GuidedShape = {
      ...{ channels, ...this.#choices, ...layout.shape },
      ...{ height: longest((tile) => tile.low.height), width: longest((tile) => tile.low.width) },
      ...{ rows: place.height, columns: place.width },
    };
    const { queue } = this.#runner.gpu.device;
    const [bytes] = await this.#runner.run(async () => {
      const { program, value } = await this.#runner.program(JSON.stringify(shape), "guided detail", (r) => {
        const pixels = place.width * place.height * channels;
        const lowContent = r.scratch("low content", 1, roomFor(Math.ceil(pixels / 4)), "f32").buffer;
        const lowPainted = r.scratch("low painted", 1, roomFor(pixels), "f32").buffer;
        return { ...recordGuided(r, shape, lowContent, lowPainted), lowContent, lowPainted };
      });
      return {
        label: "guided detail",
        programs: [program],
        timing,
        reads: [{ buffer: value.restored, bytes: 4 * layout.words }],
        upload: () => {
          writeArray(queue, value.lowContent, low.content);
          writeArray(queue, value.lowPainted, low.painted);
          writeLayout(queue, value, layout);
        },
      };
    });
    return pixelsOfPieces(layout, bytes!, channels);
  }

  dispose(): void {
    this.#runner.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The part of an image, of which `within` is there, that tiles of one row and what is around them take. */
export function around(tiles: readonly Tile[], within: Placement): Placement {
  const [first, last] = [tiles[0]!.full, tiles.at(-1)!.full];
  const left = Math.max(within.left, first.left - REACH);
  const top = Math.max(within.top, first.top - REACH);
  return {
    ...{ left, top },
    width: Math.min(within.left + within.width, last.left + last.width + REACH) - left,
    height: Math.min(within.top + within.height, first.top + first.height + REACH) - top,
  };
}
