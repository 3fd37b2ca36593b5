import type { Gpu } from "../gpu/gpu.js";
import { numbersOf, type View } from "../gpu/view.js";
import type { WeightSource } from "../hub/weight-source.js";
import type { PixelImage } from "../image/types.js";
import { showImages } from "../losses/feature-loss.js";
import { largestBatch } from "../models/load.js";
import { Vgg, VggWeights } from "../models/vgg/features.js";
import type { Stage } from "../models/vgg/weights.js";
import { asFloats, writePixels } from "../net/pixels.js";
import type { Recorder } from "../net/recorder.js";
import { Runner } from "../net/runner.js";
import { distancePartials, featureStatistics, normalizePixels, perceptualDistance, statisticsElements } from "../ops/features.js";

/** Of ImageNet; LPIPS writes the same as (2x − 1 − shift) / scale, shift −.030, −.088, −.188 and scale .458, .448, .450. */
const NORMALIZATION = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const CHANNELS = 3;

/** Pixels of one size. */
type Size = Pick<PixelImage, "height" | "width">;

/** Programs for images of one size. Those of another have their borders elsewhere, and so arenas of their own. */
class Sized {
  readonly vgg: Vgg;
  readonly runner: Runner;
  readonly side: number;
  readonly size: Size;

  constructor(gpu: Gpu, weights: VggWeights, size: Size) {
    this.size = size;
    this.side = Math.max(size.height, size.width);
    this.vgg = new Vgg(weights, this.side, { inside: size, last: false });
    this.runner = new Runner(gpu);
  }

  is({ height, width }: Size): boolean {
    return this.size.height === height && this.size.width === width;
  }

  /** Feature maps of the images that lie in `pixels NAME`, bytes of squares. */
  levels(r: Recorder, images: number, name: string): View[] {
    const shape = { images, channels: CHANNELS, imageSize: this.side };
    const each = CHANNELS * this.side ** 2;
    const pixels = r.scratch(`pixels ${name}`, 1, Math.ceil((images * each) / 4), "f32").buffer;
    const planes = r.scratch("planes", images, each, "f32");
    r.emit(normalizePixels, { ...shape, pixels, planes, normalization: NORMALIZATION });
    showImages(r, this.vgg, { ...shape, planes });
    this.vgg.clear(r, images, 0, CHANNELS, this.vgg.input(r, images));
    return this.vgg.features(r, images, name);
  }

  /** Puts images where `levels` looks for them. */
  upload(encoder: GPUCommandEncoder, name: string, images: readonly PixelImage[]): void {
    const { runner, side } = this;
    const squares = images.map((image) => inSquare(image, side));
    writePixels(runner.gpu.device.queue, encoder, runner.arena.buffer(`pixels ${name}`), squares, 0);
  }
}

/** An RGB image in the upper left corner of a square; grey is repeated. */
function inSquare({ data, width, height, channels }: PixelImage, side: number): Uint8Array {
  if (channels === CHANNELS && width === side && height === side) return data;
  const square = new Uint8Array(CHANNELS * side ** 2);
  for (let y = 0; y < height; y++) {
    const from = y * width * channels;
    const to = CHANNELS * y * side;
    if (channels === CHANNELS) square.set(data.subarray(from, from + width * channels), to);
    else for (let x = 0; x < width; x++) square.fill(data[from + x]!, to + CHANNELS * x, to + CHANNELS * (x + 1));
  }
  return square;
}

/** VGG-16 on a device, and the weights of LPIPS beside it. It knows no files. */
export class Vgg16Engine {
  readonly gpu: Gpu;
  readonly #weights: VggWeights;
  readonly #linear: readonly View[];
  readonly #buffers: readonly GPUBuffer[];
  /** By what is computed; pairs of another size take the place of those before. */
  readonly #sized = new Map<string, Sized>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(gpu: Gpu, weights: VggWeights, linear: readonly Float32Array[]) {
    this.gpu = gpu;
    this.#weights = weights;
    this.#buffers = linear.map((values, level) => {
      const padded = new Float32Array(4 * Math.ceil(values.length / 4));
      padded.set(values);
      const buffer = gpu.storage(`LPIPS level ${level}`, padded.byteLength);
      gpu.device.queue.writeBuffer(buffer, 0, padded);
      return buffer;
    });
    this.#linear = linear.map(({ length }, level) => numbersOf(this.#buffers[level]!, length));
  }

  /**
   * @param linear by level, [channels]; none where no distances are asked for
   * @param stages a thinner network of the same kind, for tests
   * @throws StylizingError `CHECKPOINT` or `GPU`
   */
  static async create(
    gpu: Gpu,
    source: WeightSource,
    linear: readonly Float32Array[],
    stages: readonly Stage[],
  ): Promise<Vgg16Engine> {
    return new Vgg16Engine(gpu, await VggWeights.upload(gpu, source, CHANNELS, stages, { backward: false }), linear);
  }

  /** Numbers of an image's features. */
  get width(): number {
    return this.#weights.stages.at(-1)!.channels;
  }

  /** Images, or pairs of them, of a size that one submission may hold. @throws StylizingError `GPU` where not even one fits */
  largestBatch(kind: "features" | "pairs", size: Size, wanted?: number): number {
    const sized = new Sized(this.gpu, this.#weights, size);
    const describe = kind === "features" ? this.#describeFeatures(sized, 1) : this.#describePairs(sized, 1);
    const bytes = Math.max(...sized.runner.measure(describe).values());
    return largestBatch(this.gpu, { bytes, sequences: distancePartials(sized), rows: sized.side ** 2 }, wanted);
  }

  /** Means over all positions of relu5_3 of images of one size, [images, channels]. */
  features(images: readonly PixelImage[]): Promise<Float32Array[]> {
    return this.#exclusively("features", images[0]!, async (sized) => {
      const { runner } = sized;
      const [bytes] = await runner.run(async () => {
        const { program } = await this.#program(sized, `features ${images.length}`, this.#describeFeatures(sized, images.length));
        return {
          label: "features",
          programs: [program],
          reads: [{ buffer: runner.arena.buffer("statistics"), bytes: 4 * statisticsElements(this.#top(images.length)) }],
          upload: (encoder) => sized.upload(encoder, "a", images),
        };
      });
      const statistics = asFloats(bytes!);
      const { width } = this;
      // Behind an image's means there are its deviations.
      return images.map((_, image) => statistics.slice(2 * image * width, (2 * image + 1) * width));
    });
  }

  /** LPIPS of pairs of one size. */
  distances(a: readonly PixelImage[], b: readonly PixelImage[]): Promise<number[]> {
    return this.#exclusively("pairs", a[0]!, async (sized) => {
      const { runner, vgg } = sized;
      const read = await runner.run(async () => {
        const { program } = await this.#program(sized, `pairs ${a.length}`, this.#describePairs(sized, a.length));
        return {
          label: "LPIPS",
          programs: [program],
          reads: vgg.levels.map((level, at) => ({
            buffer: runner.arena.buffer(`partials ${at}`),
            bytes: 4 * a.length * distancePartials(level),
          })),
          upload: (encoder) => {
            sized.upload(encoder, "a", a);
            sized.upload(encoder, "b", b);
          },
        };
      });
      return a.map((_, pair) => {
        let distance = 0;
        for (const [level, bytes] of read.entries()) {
          const each = distancePartials(vgg.levels[level]!);
          const { height, width } = vgg.inside(level);
          let sum = 0;
          for (const part of asFloats(bytes).subarray(pair * each, (pair + 1) * each)) sum += part;
          distance += sum / (height * width);
        }
        return distance;
      });
    });
  }

  #top(images: number) {
    return { images, channels: this.width };
  }

  #describeFeatures(sized: Sized, images: number) {
    return (r: Recorder): void => {
      const level = sized.vgg.levels.length - 1;
      const maps = sized.levels(r, images, "a")[level]!;
      const statistics = r.scratch("statistics", 1, statisticsElements(this.#top(images)), "f32");
      r.emit(featureStatistics, { images, ...sized.vgg.levels[level]!, maps, statistics });
    };
  }

  #describePairs(sized: Sized, images: number) {
    return (r: Recorder): void => {
      const [a, b] = [sized.levels(r, images, "a"), sized.levels(r, images, "b")];
      for (const [level, geometry] of sized.vgg.levels.entries()) {
        const partials = r.scratch(`partials ${level}`, images, distancePartials(geometry), "f32");
        const weights = this.#linear[level]!;
        r.emit(perceptualDistance, { images, ...geometry, a: a[level]!, b: b[level]!, weights, partials });
      }
    };
  }

  async #program({ runner }: Sized, key: string, describe: (r: Recorder) => void) {
    const bound = await runner.program(key, key, describe);
    if (this.gpu.profile.software || Number.isFinite(this.gpu.flopsPerDispatch)) return bound;
    // Once a rate is known, what is bound is cut so that no dispatch runs for long.
    await runner.limitDispatches(bound.program);
    await this.gpu.device.queue.onSubmittedWorkDone();
    runner.drop();
    return runner.program(key, key, describe);
  }

  /** One call at a time: programs of one size give way to those of another. */
  #exclusively<T>(kind: string, size: Size, work: (sized: Sized) => Promise<T>): Promise<T> {
    const run = this.#turn.then(() => {
      const known = this.#sized.get(kind);
      if (known?.is(size)) return work(known);
      known?.runner.dispose();
      const sized = new Sized(this.gpu, this.#weights, size);
      this.#sized.set(kind, sized);
      return work(sized);
    });
    this.#turn = run.catch(() => {});
    return run;
  }

  /** Frees programs, activations and weights; the device stays. */
  dispose(): void {
    for (const { runner } of this.#sized.values()) runner.dispose();
    this.#weights.dispose();
    this.gpu.release(...this.#buffers);
  }
}
