import { EPSILON, guidedRadius } from "../detail/guided.js";
import { assemble, type Item, layOut, pixelsOfPieces } from "../detail/layout.js";
import { Restorer } from "../detail/restorer.js";
import { tilesOf } from "../detail/tiles.js";
import { cut, unfit } from "../image/preprocess.js";
import { resize } from "../image/resize.js";
import { keepBackground } from "../image/tissue-weight.js";
import { type PixelImage, type RowSource, wholeOf } from "../image/types.js";
import type { Batch, Original } from "../models/batch.js";
import type { ModelHost } from "../models/host.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { addTime, noTime, type RunTiming } from "../net/run.js";
import type { Batches, Delivery } from "./batches.js";
import type { Engine } from "./engine.js";
import { type Band, paintLarge } from "./large.js";
import type { Pair } from "./pairing.js";
import type { Sizing } from "./sizing.js";
import { type BankOwner, StyleBank } from "./style-bank.js";
import type { StylizeOptions } from "./types.js";

export type PaintOptions = StylizeOptions & {
  timing?: RunTiming | undefined;
  shared?: boolean;
  /** Ends an image that is painted in windows between two of them; others are finished. */
  stop?: AbortSignal | undefined;
};

/** Bytes of contents, or of results, at their full size that one submission holds; an image with more is painted in bands. */
const FULL_BYTES = 2 ** 26;

/** An image that is read by rows, at its own size and at the scale that the model sees it at. */
export interface LargeSource {
  full: RowSource;
  low: RowSource;
}

/** Paints pairs, and gives results the size and the detail that are asked for. */
export class PairPainter {
  readonly #host: ModelHost<Engine>;
  readonly #batches: Batches;
  readonly #config: ModelConfig;
  readonly #owner: BankOwner;
  #restorer: { engine: Engine; background: boolean; restorer: Restorer } | undefined;

  constructor(host: ModelHost<Engine>, batches: Batches, config: ModelConfig, owner: BankOwner) {
    this.#host = host;
    this.#batches = batches;
    this.#config = config;
    this.#owner = owner;
  }

  get #channels(): 1 | 3 {
    return this.#config.in_channels as 1 | 3;
  }

  /**
   * All results as the model gives them, [pairs, S, S, C] in the contents' format.
   * @param into where they go; without it into memory of their own
   */
  async pixels(
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    options: PaintOptions,
    into?: Uint8Array,
  ): Promise<Uint8Array<ArrayBufferLike>> {
    const each = this.#config.in_channels * this.#config.image_size ** 2 * (contents.format === "bytes" ? 1 : 4);
    const result = into ?? room(pairs.length * each, options.shared);
    await this.#recovering(options, (engine, timing) =>
      this.#batches.paint(engine, contents, styles, pairs, { ...options, timing }, (from, images) => ({
        target: result.subarray(from * each, (from + images) * each),
      })),
    );
    return result;
  }

  /** Runs `work`, again where the device is lost under it: what was measured on that one counts for nothing. */
  #recovering({ timing }: PaintOptions, work: (engine: Engine, timing: RunTiming | undefined) => Promise<void>): Promise<void> {
    return this.#host.recovering(async (engine) => {
      const part = timing && noTime();
      await work(engine, part);
      if (timing) addTime(timing, part!);
    });
  }

  /** Results one by one, of a batch that has its originals. */
  async images(
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    sizing: Sizing,
    options: PaintOptions,
  ): Promise<PixelImage[]> {
    if (sizing.detail === "guided") return this.#guided(contents, styles, pairs, sizing, options);
    const data = await this.#banked(contents, styles, false, (all) => this.pixels(contents, all, pairs, options));
    const side = this.#config.image_size;
    const each = data.length / pairs.length;
    const results: PixelImage[] = [];
    for (const [index, pair] of pairs.entries()) {
      const original = contents.originals![pair.content]!;
      const square = {
        data: data.subarray(index * each, (index + 1) * each),
        width: side,
        height: side,
        channels: this.#channels,
      };
      const { width, height } = original.source;
      const result = sizing.size === "model" ? square : await unfit(square, original.placement, width, height);
      results.push(sizing.background ? keepBackground(paintedOf(original, contents, pair, side, sizing), result) : result);
    }
    return results;
  }

  /** Runs `work` with a bank of the styles where they have another format than the contents, or where windows are painted. */
  async #banked<T>(
    contents: Batch,
    styles: Batch | StyleBank,
    windows: boolean,
    work: (styles: Batch | StyleBank) => Promise<T>,
  ): Promise<T> {
    if (styles instanceof StyleBank || (!windows && styles.format === contents.format)) return work(styles);
    using bank = new StyleBank(this.#owner, styles);
    return await work(bank);
  }

  async #guided(
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    sizing: Sizing,
    options: PaintOptions,
  ): Promise<PixelImage[]> {
    const side = this.#config.image_size;
    const originals = contents.originals!.map((original, index) =>
      sizing.size === "keep" ? original : squareOf(contents, index, side, this.#channels),
    );
    const bytesOf = ({ image }: Original) => image.data.length;
    const isLarge = (pair: Pair) => sizing.scale !== "fit" || bytesOf(originals[pair.content]!) > FULL_BYTES;
    const order = [...pairs.keys()];
    const [small, large] = [order.filter((index) => !isLarge(pairs[index]!)), order.filter((index) => isLarge(pairs[index]!))];
    const results: PixelImage[] = [];
    await this.#banked(contents, styles, large.length > 0, async (all) => {
      if (small.length > 0) await this.#inSquares(contents, all, { pairs, small, originals }, sizing, options, results);
      for (const [done, index] of large.entries()) {
        const { content, style } = pairs[index]!;
        results[index] = await this.#large(originals[content]!.image, all as StyleBank, style, sizing, options);
        options.onProgress?.(small.length + done + 1, pairs.length);
      }
    });
    return results;
  }

  /** Images that the model sees whole, in its square, many to a submission. */
  async #inSquares(
    contents: Batch,
    styles: Batch | StyleBank,
    { pairs, small, originals }: { pairs: readonly Pair[]; small: readonly number[]; originals: readonly Original[] },
    sizing: Sizing,
    options: PaintOptions,
    results: PixelImage[],
  ): Promise<void> {
    const channels = this.#channels;
    const radius = guidedRadius(this.#config.patch_size);
    const chosen = small.map((index) => pairs[index]!);
    const largest = Math.max(...chosen.map(({ content }) => originals[content]!.image.data.length));
    const most = Math.max(1, Math.floor(FULL_BYTES / largest));
    const deliver = (from: number, images: number, shared: boolean): Delivery => {
      const items = chosen.slice(from, from + images).map((pair, at): Item => {
        const { image, placement, source } = originals[pair.content]!;
        const { width, height } = image;
        const tiles = tilesOf({ width, height, source, low: placement }, radius);
        const low = { content: shared ? 0 : at, painted: at, left: 0, top: 0 };
        return { content: image.data, place: wholeOf(image), tiles, low };
      });
      const layout = layOut(items, channels);
      return {
        detail: { layout, background: sizing.background },
        target: room(4 * layout.words, options.shared),
        take: (bytes) => {
          const pixels = pixelsOfPieces(layout, bytes, channels);
          for (const [at, { tiles }] of items.entries()) {
            const { image } = originals[chosen[from + at]!.content]!;
            const parts = pixels.splice(0, tiles.length);
            results[small[from + at]!] = assemble(tiles, parts, image, (count) => room(count, options.shared));
          }
        },
      };
    };
    await this.#recovering(options, (engine, timing) =>
      this.#batches.paint(engine, contents, styles, chosen, { ...options, timing, most }, deliver),
    );
  }

  /** One image in windows, all of it. */
  async #large(image: PixelImage, bank: StyleBank, style: number, sizing: Sizing, options: PaintOptions): Promise<PixelImage> {
    const { width, height, channels } = image;
    const data = room(image.data.length, options.shared);
    const signal = options.signal ?? options.stop;
    const source = await largeSource(image, sizing.scale, this.#config.image_size, signal);
    for await (const band of this.bands(source, bank, style, sizing, { ...options, signal }))
      data.set(band.data, band.top * width * channels);
    return { data, width, height, channels };
  }

  /** An image in windows, from top to bottom: what is in memory at a time grows with its width alone. */
  bands(
    { full, low }: LargeSource,
    bank: StyleBank,
    style: number,
    sizing: Sizing,
    { signal, onWindow, ...options }: PaintOptions & { onWindow?: (done: number, total: number, blank: number) => void },
  ): AsyncGenerator<Band, void, undefined> {
    const { patch_size, image_size: side } = this.#config;
    return paintLarge({
      ...{ channels: this.#channels, full, low, side, radius: guidedRadius(patch_size), skipBlank: sizing.skipBlank },
      ...{ signal, onProgress: onWindow },
      paint: async (windows, windowOf, results) => {
        const contents: Batch = {
          ...{ count: windows, format: "bytes", guise: "list" },
          pixels: (from, count) =>
            count === 1 ? windowOf(from) : Array.from({ length: count }, (_, index) => windowOf(from + index)),
        };
        const pairs = Array.from({ length: windows }, (_, content) => ({ content, style }));
        const { onProgress, ...quiet } = options;
        await this.pixels(contents, bank, pairs, { ...quiet, signal }, results);
      },
      restoreRow: (...row) =>
        this.#recovering(options, (engine, timing) => this.#restorerOf(engine, sizing).restoreRow(...row, timing)),
    });
  }

  #restorerOf(engine: Engine, { background }: Sizing): Restorer {
    const kept = this.#restorer;
    if (kept?.engine === engine && kept.background === (background !== undefined)) return kept.restorer;
    kept?.restorer.dispose();
    const choices = { radius: guidedRadius(this.#config.patch_size), epsilon: EPSILON, background };
    const restorer = new Restorer(engine.gpu, this.#channels, choices);
    this.#restorer = { engine, background: background !== undefined, restorer };
    return restorer;
  }

  /** Frees what it has on the device. */
  dispose(): void {
    this.#restorer?.restorer.dispose();
    this.#restorer = undefined;
  }
}

const room = (bytes: number, shared = false): Uint8Array<ArrayBufferLike> =>
  new Uint8Array(shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes));

/** A content as the model saw it, to be restored as such. */
function squareOf(contents: Batch, index: number, side: number, channels: 1 | 3): Original {
  const whole = wholeOf({ width: side, height: side });
  const pixels = contents.pixels(index, 1) as Uint8Array;
  return { image: { data: pixels, width: side, height: side, channels }, placement: whole, source: whole };
}

/** What a result shows, at the result's size. */
function paintedOf(original: Original, contents: Batch, { content }: Pair, side: number, { size }: Sizing): PixelImage {
  if (size === "model") return squareOf(contents, content, side, original.image.channels).image;
  const { image, source } = original;
  return source.width === image.width && source.height === image.height ? image : cut(image, source);
}

/** An image in memory, by rows. */
const rowsOf = ({ data, width, height, channels }: PixelImage): RowSource => ({
  width,
  height,
  rows: (top, count) => data.subarray(top * width * channels, (top + count) * width * channels),
});

/** An image in memory at its own size and, scaled whole, at the model's scale. */
export async function largeSource(
  image: PixelImage,
  scale: Sizing["scale"],
  side: number,
  signal: AbortSignal | undefined,
): Promise<LargeSource> {
  const full = rowsOf(image);
  const [width, height] = lowSize(image, scale, side);
  if (width === image.width && height === image.height) return { full, low: full };
  return { full, low: rowsOf(await resize(image, width, height, { signal })) };
}

/** Sides of an image at the scale that the model sees it at. */
export function lowSize(
  { width, height }: { width: number; height: number },
  scale: Sizing["scale"],
  side: number,
): [number, number] {
  if (scale === "native") return [width, height];
  const factor = scale === "fit" ? side / Math.max(width, height) : scale;
  const scaled = (size: number) => Math.max(1, Math.floor(size * factor));
  return [scaled(width), scaled(height)];
}
