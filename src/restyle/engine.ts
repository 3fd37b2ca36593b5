import { pixelsOfPieces } from "../detail/layout.js";
import { StylizingError } from "../errors.js";
import type { Gpu } from "../gpu/gpu.js";
import type { PixelImage } from "../image/types.js";
import { asFloats, writeArray } from "../net/pixels.js";
import type { Read, RunTiming } from "../net/run.js";
import { Runner } from "../net/runner.js";
import { COEFFICIENT } from "../ops/fourier.js";
import { resultWordsOf } from "../ops/guided.js";
import { LEVEL_NUMBERS } from "../ops/levels.js";
import { JOB_WORDS, STATISTICS_WORDS } from "../ops/restyle.js";
import { type Batch, coefficientsOf, type Item, layOut } from "./batch.js";
import { type RestyleBuffers, type RestyleShape, recordRestyle, recordWords } from "./programs.js";
import type { Way } from "./ways.js";

/** Statistics of styles on the device, one record behind the other. */
export interface Records {
  readonly buffer: GPUBuffer;
  /** Bytes of one. */
  readonly each: number;
}

/** A batch of one way. */
export interface Task {
  way: Way;
  background: readonly number[] | undefined;
  skipBlank: boolean;
  items: readonly Item[];
  /** Styles whose statistics are taken in the same submission, and those that are kept: each item's style counts through both. */
  styles: readonly PixelImage[];
  kept: readonly { records: Records; index: number }[];
  shared?: boolean | undefined;
  timing?: RunTiming | undefined;
}

export interface TaskResult {
  image: PixelImage;
  applied: boolean;
  /** What was found in the content, 32 numbers, see kernels/colour_statistics.wgsl and stain_fit.wgsl; of Colorist 12, see level_tables.wgsl. */
  own: Float32Array;
  /** The same of its style, where it has one; of Colorist nothing. */
  style: Float32Array | undefined;
}

/** Closed forms on a device. It knows no names and no defaults. */
export class RestyleEngine {
  readonly gpu: Gpu;
  readonly #runner: Runner;

  constructor(gpu: Gpu) {
    this.gpu = gpu;
    this.#runner = new Runner(gpu);
  }

  /** Bytes that one image may take on this device; room for it is up to an eighth larger. */
  get mostBytes(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.gpu.profile.limits;
    return Math.floor((Math.min(maxBufferSize, maxStorageBufferBindingSize) * 8) / 9);
  }

  /**
   * Restyles a batch: one upload, one submission, one read-back.
   * @throws StylizingError `GPU`, `DEVICE_LOST`
   */
  async run(task: Task): Promise<TaskResult[]> {
    const { way, items, styles, kept } = task;
    const channels = items[0]!.content.channels;
    const batch = layOut(items, styles, kept.length);
    const each = way.kind === "moments" || way.kind === "stains" ? STATISTICS_WORDS : 0;
    const slots = batch.room.slots;
    const size = 4 * batch.resultWords;
    const target = new Uint8Array(task.shared ? new SharedArrayBuffer(size) : new ArrayBuffer(size));
    const read = await this.#run(batch, task, false, (buffers) => [
      { buffer: buffers.result, bytes: size, target },
      { buffer: buffers.jobs, bytes: 4 * JOB_WORDS * items.length },
      ...(each > 0 ? [{ buffer: buffers.statistics!, bytes: 4 * each * slots }] : []),
      ...(buffers.numbers ? [{ buffer: buffers.numbers, bytes: 4 * LEVEL_NUMBERS * items.length }] : []),
    ]);
    const [jobs, last] = read.slice(1).map((bytes) => asFloats(bytes));
    const [found, numbers] = way.kind === "levels" ? [undefined, last] : [last, undefined];
    const record = (of: Float32Array, words: number, slot: number) => of.subarray(slot * words, (slot + 1) * words);
    return pixelsOfPieces(batch, target, channels).map((data, index) => {
      const { content, style } = items[index]!;
      return {
        image: { data, width: content.width, height: content.height, channels },
        applied: jobs![index * JOB_WORDS + 3]! > 0,
        own: numbers ? record(numbers, LEVEL_NUMBERS, index) : found ? record(found, each, index) : new Float32Array(0),
        style: found && style !== undefined ? record(found, each, batch.slotOf(style)) : undefined,
      };
    });
  }

  /** Statistics of styles, which stay on the device. @throws StylizingError `GPU`, `DEVICE_LOST` */
  async keep(way: Way, styles: readonly PixelImage[], cuts: readonly [from: number, count: number][]): Promise<Records> {
    const each = 4 * recordWords(way);
    const buffer = await this.gpu.checked("statistics of styles", () => this.gpu.storage("styles", each * styles.length));
    try {
      for (const [from, count] of cuts) {
        const batch = layOut([], styles.slice(from, from + count), 0);
        const task = { way, background: undefined, skipBlank: false, items: [], styles, kept: [] };
        await this.#run(batch, task, true, () => [], { buffer, offset: from * each, bytes: count * each });
      }
      return { buffer, each };
    } catch (error) {
      this.gpu.release(buffer);
      throw error;
    }
  }

  /** Statistics of images, read back. @throws StylizingError `GPU`, `DEVICE_LOST` */
  async measure(way: Way, images: readonly PixelImage[]): Promise<Float32Array[]> {
    const each = recordWords(way);
    const task = { way, background: undefined, skipBlank: false, items: [], styles: images, kept: [] };
    const [bytes] = await this.#run(layOut([], images, 0), task, true, ({ statistics }) => [
      { buffer: statistics!, bytes: 4 * each * images.length },
    ]);
    const all = asFloats(bytes!);
    return images.map((_, at) => all.subarray(at * each, (at + 1) * each));
  }

  #run(
    batch: Batch,
    { way, background, skipBlank, styles, items, kept, timing }: Task,
    statistics: boolean,
    reads: (buffers: RestyleBuffers) => Read[],
    copy?: { buffer: GPUBuffer; offset: number; bytes: number },
  ): Promise<Uint8Array[]> {
    const channels = (items[0]?.content ?? styles[0]!).channels;
    const shape: RestyleShape = { way, channels, background, skipBlank, room: batch.room, statistics };
    const { queue } = this.gpu.device;
    return this.#runner.run(async () => {
      const { program, value } = await this.#runner.program(JSON.stringify(shape), "restyling", (r) => recordRestyle(r, shape));
      return {
        label: "restyle",
        programs: [program],
        timing,
        reads: reads(value),
        upload: (encoder) => {
          const tables = [value.images, value.chunks, value.jobs, value.twiddles] as const;
          for (const [at, data] of [batch.images, batch.chunks, batch.jobs, batch.twiddles].entries())
            if (tables[at] && data.length > 0) writeArray(queue, tables[at], data);
          writeArray(queue, value.content, batch.content);
          if (value.counts) encoder.clearBuffer(value.counts);
          for (const [at, { records, index }] of kept.entries()) {
            const { buffer, each } = records;
            const slot = batch.slotOf(styles.length + at);
            encoder.copyBufferToBuffer(buffer, index * each, value.statistics!, slot * each, each);
          }
        },
        ...(copy && {
          after: (encoder: GPUCommandEncoder) =>
            encoder.copyBufferToBuffer(value.statistics!, 0, copy.buffer, copy.offset, copy.bytes),
        }),
      };
    });
  }

  release({ buffer }: Records): void {
    this.gpu.release(buffer);
  }

  /** Frees everything but the device. */
  dispose(): void {
    this.#runner.dispose();
  }
}

/** Refuses an image that is too large for a device, or a band of it. @throws StylizingError `ARGUMENT` */
export function checkFits(image: PixelImage, most: number, band?: number): void {
  const { width, height, channels } = image;
  const bytes = 4 * resultWordsOf(width, height, channels);
  if (bytes > most) {
    const problem = `An image of ${width} × ${height} takes ${bytes} bytes, and this device takes ${most} at a time.`;
    throw new StylizingError("ARGUMENT", problem, "Cut it into tiles.");
  }
  // Coefficients of an image and of its style.
  const coefficients = band === undefined ? 0 : 8 * COEFFICIENT * Math.max(...coefficientsOf(image, band));
  if (coefficients > most) {
    const problem = `A band of ${2 * band! + 1} frequencies of an image of ${width} × ${height} takes ${coefficients} bytes, and this device takes ${most} at a time.`;
    throw new StylizingError("ARGUMENT", problem, "Give a smaller beta, or cut it into tiles.");
  }
}
