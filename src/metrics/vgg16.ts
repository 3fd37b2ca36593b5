import { StylizingError } from "../errors.js";
import type { AdapterChoice, AdapterReport } from "../gpu/gpu.js";
import type { DownloadOptions } from "../hub/download.js";
import { resize } from "../image/resize.js";
import { checkPixelImage, type PixelImage } from "../image/types.js";
import { Calls } from "../models/calls.js";
import { type HostOptions, ModelHost } from "../models/host.js";
import { checkLoadOptions, modelReport } from "../models/load.js";
import { inPieces } from "../models/pieces.js";
import { readLinear } from "../models/vgg/linear.js";
import { openVgg, VGG_16 } from "../models/vgg/weights.js";
import { Vgg16Engine } from "./vgg16-engine.js";

/** Side of the square that images are resized to for features, in pixels. */
export const FEATURE_SIZE = 224;
/** What its features are, for reports: a distance says of which features it is. */
export const VGG16_FEATURES = `VGG-16 relu5_3, spatial mean, 512, of images resized to ${FEATURE_SIZE} × ${FEATURE_SIZE}`;
/** Shortest side of an image of which four poolings leave a pixel. */
export const SHORTEST_SIDE = 16;
/** Submissions of a call that may be on their way at a time. */
const UNDER_WAY = 2;

export interface Vgg16Options extends Omit<DownloadOptions, "weights" | "revision"> {
  /** A safetensors file with torchvision's, timm's or the lpips package's names, `hub` (the default; 0.5 GB, once), or `random:SEED`. */
  vgg?: string | undefined;
  /** The linear weights of LPIPS: a safetensors file, `hub` (the default), or false where no distances are asked for. */
  lpips?: string | false | undefined;
  /** Where to run, as for models; or a device of the caller's own. */
  adapter?: AdapterChoice | undefined;
  device?: GPUDevice | undefined;
  /** Images a submission; what suits the device where nothing is said. */
  batchSize?: number | undefined;
  /** Receives notices that are no error. */
  onNote?: ((note: string) => void) | undefined;
}

/**
 * VGG-16 (Simonyan and Zisserman 2015) on a GPU, for what metrics ask of it: LPIPS of pairs, and features of whose sets a Fréchet distance
 * is taken. In f32 on every adapter. `dispose()` it, or use `await using`: a living device keeps the process from exiting.
 */
export class Vgg16 implements Disposable, AsyncDisposable {
  readonly #host: ModelHost<Vgg16Engine>;
  readonly #options: Vgg16Options;
  readonly #calls = new Calls("network");

  private constructor(host: ModelHost<Vgg16Engine>, options: Vgg16Options) {
    this.#host = host;
    this.#options = options;
  }

  /**
   * Reads the weights and puts them on a device.
   * @throws StylizingError `ARGUMENT`, `DOWNLOAD` where the Hub cannot be reached, `CHECKPOINT` where a file holds something else, `NO_ADAPTER`,
   *   `GPU`; the signal's reason when aborted. Nothing stays allocated then.
   */
  static async load(options: Vgg16Options = {}): Promise<Vgg16> {
    const { vgg = "hub", lpips = "hub", adapter, device, onNote, signal, onProgress, batchSize, ...rest } = options;
    const gpu: HostOptions = { precision: "f32", ...(adapter ? { adapter } : {}), ...(device ? { device } : {}), onNote, signal };
    checkLoadOptions({ ...gpu, batchSize });
    const download = { ...rest, signal, onProgress };
    const open = () => openVgg(vgg, 3, download, VGG_16);
    // Looked at before there is a device.
    await (await open())[Symbol.asyncDispose]();
    const linear = lpips === false ? [] : await readLinear(lpips, download);
    signal?.throwIfAborted();
    const host = await ModelHost.open(async (on) => {
      await using source = await open();
      return await Vgg16Engine.create(on, source, linear, VGG_16.stages);
    }, gpu);
    return new Vgg16(host, options);
  }

  /** What it runs on. */
  get adapter(): AdapterReport {
    return modelReport("VGG-16", this.#host.gpu).adapter;
  }

  /** Numbers of an image's features. */
  get width(): number {
    return this.#host.engine.width;
  }

  /** Images that one submission holds when features are taken. */
  get batchSize(): number {
    const size = { height: FEATURE_SIZE, width: FEATURE_SIZE };
    return this.#host.engine.largestBatch("features", size, this.#options.batchSize);
  }

  /**
   * LPIPS 0.1 (Zhang et al., arXiv 1801.03924) of images in pairs, at their own size: 0 where both are alike, lower is better.
   * @param a 8-bit images, RGB or grey; sides of 16 pixels or more
   * @param b as many; each as large as its partner
   * @throws StylizingError `ARGUMENT`, `GPU`, `DEVICE_LOST` or `DISPOSED`
   */
  lpips(a: PixelImage, b: PixelImage): Promise<number>;
  lpips(a: readonly PixelImage[], b: readonly PixelImage[]): Promise<number[]>;
  lpips(a: PixelImage | readonly PixelImage[], b: PixelImage | readonly PixelImage[]): Promise<number | number[]> {
    return this.#calls.track(async () => {
      if (this.#options.lpips === false)
        throw new StylizingError("ARGUMENT", "This VGG-16 was loaded without the weights of LPIPS.", "Load it with `lpips`.");
      const [ones, others] = [listOf(a), listOf(b)];
      if (ones.length !== others.length) {
        const problem = `There are ${ones.length} and ${others.length} images.`;
        throw new StylizingError("ARGUMENT", problem, "Give them in pairs.");
      }
      for (const [pair, one] of ones.entries()) checkPair(one, others[pair]!, ones.length === 1 ? "" : ` of pair ${pair}`);
      const distances: number[] = [];
      // Neighbours of one size go together.
      for (let from = 0; from < ones.length; ) {
        const { height, width } = ones[from]!;
        let end = from + 1;
        while (end < ones.length && ones[end]!.height === height && ones[end]!.width === width) end++;
        const start = from;
        await this.#inPieces("pairs", { height, width }, end - from, async (engine, at, count) => {
          const [first, last] = [start + at, start + at + count];
          const some = await engine.distances(ones.slice(first, last), others.slice(first, last));
          for (const [pair, distance] of some.entries()) distances[first + pair] = distance;
        });
        from = end;
      }
      return isList(a) ? distances : distances[0]!;
    });
  }

  /**
   * Means over all positions of relu5_3 of images that are resized to 224 × 224 (bilinear, antialiased): see `frechetDistance`.
   * @param images 8-bit, RGB or grey, of any sizes
   * @returns of each image 512 numbers
   * @throws StylizingError `ARGUMENT`, `GPU`, `DEVICE_LOST` or `DISPOSED`
   */
  features(images: readonly PixelImage[]): Promise<Float32Array[]> {
    return this.#calls.track(async () => {
      for (const [index, image] of images.entries()) checkPixelImage(image, `Image ${index}`);
      const size = { height: FEATURE_SIZE, width: FEATURE_SIZE };
      const features: Float32Array[] = [];
      await this.#inPieces("features", size, images.length, async (engine, from, count) => {
        const resized: PixelImage[] = [];
        for (const image of images.slice(from, from + count)) resized.push(await resize(image, FEATURE_SIZE, FEATURE_SIZE));
        for (const [index, one] of (await engine.features(resized)).entries()) features[from + index] = one;
      });
      return features;
    });
  }

  async #inPieces(
    kind: "features" | "pairs",
    size: { height: number; width: number },
    count: number,
    run: (engine: Vgg16Engine, from: number, count: number) => Promise<void>,
  ): Promise<void> {
    if (count === 0) return;
    await this.#host.recovering((engine) => {
      const options = { size: engine.largestBatch(kind, size, this.#options.batchSize), underWay: UNDER_WAY };
      return inPieces(count, options, (from, items) => run(engine, from, items));
    });
  }

  /** Frees everything and destroys the device if it is ours. Calls under way fail. Idempotent. */
  dispose(): void {
    if (this.#calls.close()) this.#host.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Waits for calls under way, then frees everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.settled();
    this.dispose();
  }
}

const isList = (images: PixelImage | readonly PixelImage[]): images is readonly PixelImage[] => Array.isArray(images);
const listOf = (images: PixelImage | readonly PixelImage[]): readonly PixelImage[] => (isList(images) ? images : [images]);

function checkPair(a: PixelImage, b: PixelImage, which: string): void {
  checkPixelImage(a, `The first image${which}`);
  checkPixelImage(b, `The second image${which}`);
  if (a.width !== b.width || a.height !== b.height) {
    const problem = `The images${which} are ${a.width} × ${a.height} and ${b.width} × ${b.height}.`;
    throw new StylizingError("ARGUMENT", problem, "Compare images of one size.");
  }
  if (Math.min(a.width, a.height) < SHORTEST_SIDE) {
    const problem = `The images${which} are ${a.width} × ${a.height}, and VGG-16's poolings leave nothing of them.`;
    throw new StylizingError("ARGUMENT", problem, `Compare images of ${SHORTEST_SIDE} pixels or more a side.`);
  }
}
