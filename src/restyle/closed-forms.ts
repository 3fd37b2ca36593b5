import { StylizingError } from "../errors.js";
import { type AdapterReport, adapterReport } from "../gpu/gpu.js";
import { checkPixelImage, type PixelImage } from "../image/types.js";
import { Calls } from "../models/calls.js";
import type { GpuOptions } from "../models/device.js";
import { ModelHost } from "../models/host.js";
import { inPieces } from "../models/pieces.js";
import { COEFFICIENT } from "../ops/fourier.js";
import { resultWordsOf } from "../ops/guided.js";
import { ClosedFormBank } from "./bank.js";
import { coefficientsOf, MOST_IMAGES } from "./batch.js";
import { checkFits, RestyleEngine } from "./engine.js";
import { methodNamed, type RandStainTable, randStainTarget } from "./methods.js";
import { type Prepared, restylePiece } from "./piece.js";
import { paramsWith, TableAccumulator } from "./records.js";
import type { Method, RestyleBank, Restyled, RestyleJob, RestyleOptions, Restyler } from "./types.js";
import { bandOf, formOf, takesGrey, type Way } from "./ways.js";

export interface ClosedFormOptions extends Omit<GpuOptions, "precision" | "tune"> {
  /** Receives notices that are no error: a second device after a lost one. */
  onNote?: ((note: string) => void) | undefined;
}

/** Bytes of contents and styles that one submission holds; one larger image goes alone. */
const BATCH_BYTES = 2 ** 26;
/** Submissions under way at a time. */
const UNDER_WAY = 2;

/** The closed forms on one device. Calls may overlap; they are queued. `dispose()` it, or use `await using`: a living device keeps the process from exiting. */
export class ClosedForms implements Disposable, AsyncDisposable {
  readonly #host: ModelHost<RestyleEngine>;
  readonly #calls = new Calls("restyler");
  readonly #options: ClosedFormOptions;

  private constructor(host: ModelHost<RestyleEngine>, options: ClosedFormOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Opens a device. @throws StylizingError `ARGUMENT`, `NO_ADAPTER` or `GPU` */
  static async open(options: ClosedFormOptions = {}): Promise<ClosedForms> {
    // All of it is f32: nothing is gained by trying matrix units, which takes seconds on a new driver.
    const settled = { ...options, precision: "f32" } as const;
    return new ClosedForms(await ModelHost.open(async (gpu) => new RestyleEngine(gpu), settled), options);
  }

  /** The device that it runs on. It changes when a lost device is replaced. */
  get device(): GPUDevice {
    return this.#host.gpu.device;
  }

  /** What it runs on. */
  get report(): { adapter: string; readonly [more: string]: unknown } {
    const { name, ...more }: AdapterReport = adapterReport(this.#host.gpu);
    return { adapter: name, ...more };
  }

  /**
   * A closed form; disposing of it leaves the device open for others.
   * @throws StylizingError `ARGUMENT` where there is none of that name
   */
  restyler(name: string): Restyler {
    const method = methodNamed(name);
    if (!formOf(name)) throw new StylizingError("ARGUMENT", `${name} is no closed form.`, "Load it with StylizingViT.load().");
    const forms = this;
    return {
      method,
      get report() {
        return forms.report;
      },
      styleBank: (styles, signal) => forms.#calls.track(() => forms.#bank(method, styles, signal)),
      restyle: (jobs, options) => forms.#calls.track(() => forms.#restyle(method, jobs, options)),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  /**
   * Measures RandStainNA's table (Shen et al., MICCAI 2022) on a data set: of L* · 2.55, a* + 128 and b* + 128, mean and population deviation over its
   * images of their channel means, `avg_mean` and `avg_std`, and of their deviations, `std_mean` and `std_std`. Images are held a batch at a time.
   * @throws StylizingError `ARGUMENT` where there is none, or one is grey; `GPU`, `DEVICE_LOST`; the signal's reason when aborted
   */
  fitRandStainNA(images: Iterable<PixelImage> | AsyncIterable<PixelImage>, signal?: AbortSignal): Promise<RandStainTable> {
    return this.#calls.track(async () => {
      const method = methodNamed("randstainna");
      const way = formOf(method.name)!.way({});
      const measured = new TableAccumulator();
      const measure = async (batch: readonly PixelImage[]) => {
        signal?.throwIfAborted();
        if (batch.length > 0) measured.add(await this.#host.recovering((engine) => engine.measure(way, batch)));
      };
      let batch: PixelImage[] = [];
      let bytes = 0;
      for await (const image of images) {
        checkPixelImage(image);
        refuseGrey(method, way, image);
        checkFits(image, this.#host.engine.mostBytes);
        if (bytes + image.data.length > BATCH_BYTES || batch.length === MOST_IMAGES) {
          await measure(batch);
          [batch, bytes] = [[], 0];
        }
        batch.push(image);
        bytes += image.data.length;
      }
      await measure(batch);
      if (measured.count === 0) throw new StylizingError("ARGUMENT", "There are no images to measure.", "Give one or more.");
      return measured.table();
    });
  }

  async #bank(method: Method, styles: readonly PixelImage[], signal?: AbortSignal): Promise<ClosedFormBank> {
    if (styles.length === 0) throw new StylizingError("ARGUMENT", "There are no styles.", "Give one or more images.");
    for (const [index, style] of styles.entries()) {
      checkPixelImage(style, `Style ${index}`);
      checkFits(style, this.#host.engine.mostBytes);
      if (style.channels !== styles[0]!.channels)
        throw new StylizingError(
          "ARGUMENT",
          `Style ${index} has ${style.channels} channels, and style 0 ${styles[0]!.channels}.`,
          "Decode all with the same number of channels.",
        );
    }
    const way = formOf(method.name)!.way(method.settle({}, () => 0.5));
    refuseGrey(method, way, styles[0]!);
    const bank = new ClosedFormBank(this, styles);
    await this.#host.recovering<unknown>((engine) =>
      method.name === "randstainna" ? bank.measure(engine, way, signal) : bank.records(engine, way, signal),
    );
    return bank;
  }

  async #restyle(method: Method, jobs: readonly RestyleJob[], options: RestyleOptions = {}): Promise<Restyled[]> {
    const { signal } = options;
    const bank = bankOf(this, options.bank);
    const prepared = jobs.map((job, index) => this.#prepare(method, job, `Job ${index}`, bank));
    const groups = new Map<string, number[]>();
    for (const [index, { way, job }] of prepared.entries()) {
      const key = `${JSON.stringify(way)} ${job.content.channels}`;
      groups.set(key, [...(groups.get(key) ?? []), index]);
    }
    const results: Restyled[] = new Array(jobs.length);
    await this.#host.recovering(async (engine) => {
      for (const group of groups.values()) {
        const largest = Math.max(...group.map((index) => prepared[index]!.bytes));
        const size = Math.max(1, Math.min(MOST_IMAGES, Math.floor(BATCH_BYTES / largest)));
        const onSmaller = (smaller: number, tooLarge: number) =>
          this.#options.onNote?.(`a batch of ${tooLarge} does not fit the device's memory: going on with ${smaller}`);
        await inPieces(group.length, { size, underWay: UNDER_WAY, signal, onSmaller }, async (from, count) => {
          const indices = group.slice(from, from + count);
          const chosen = indices.map((index) => prepared[index]!);
          const done = await restylePiece(engine, chosen, bank, options);
          for (const [at, { image, applied, ...found }] of done.entries()) {
            const { way, params } = chosen[at]!;
            results[indices[at]!] = { image, applied, params: paramsWith(way, params, found) };
          }
        });
      }
    });
    return results;
  }

  /** Holds a job to what a method takes, and finds its style. */
  #prepare(method: Method, job: RestyleJob, what: string, bank: ClosedFormBank | undefined): Prepared {
    const { content, style, strength = 1 } = job;
    checkPixelImage(content, `${what}'s content`);
    method.check(job.params);
    if (!(strength >= 0 && strength <= 1))
      throw new StylizingError("ARGUMENT", `${what} has a strength of ${strength}.`, "Give a number from 0 to 1.");
    let params = job.params;
    const form = formOf(method.name)!;
    let found = method.takesStyle(job.params) ? style : undefined;
    if (method.needsStyle(params)) {
      if (method.name === "randstainna" && bank?.measured && (style === undefined || typeof style === "number")) {
        const { targetMean, targetDeviation } = randStainTarget(bank.measured, params);
        params = { table: bank.measured, targetMean, targetDeviation, ...params };
        found = undefined;
      } else if (style === undefined) {
        throw new StylizingError(
          "ARGUMENT",
          `${method.name} needs a style, and ${what.toLowerCase()} has none.`,
          `Give one, or its numbers (\`stylizing-vit methods ${method.name}\`).`,
        );
      }
    }
    const way = form.way(params);
    refuseGrey(method, way, content);
    if (typeof found === "number") checkNumber(found, bank, what);
    else if (found !== undefined) checkPixelImage(found, `${what}'s style`);
    const image = typeof found === "number" ? bank!.styles[found]! : found;
    if (image && image.channels !== content.channels)
      throw new StylizingError(
        "ARGUMENT",
        `${what}'s content has ${content.channels} channels and its style ${image.channels}.`,
        "Decode both with the same number of channels.",
      );
    const most = this.#host.engine.mostBytes;
    const { width, height, channels } = content;
    // Of Fourier sums the style has the content's size, and coefficients count: a wide band is larger than its image.
    const band = way.kind === "fourier" ? bandOf(width, height, params.beta as number) : undefined;
    checkFits(content, most, band);
    if (image) checkFits(image, most);
    const fourier = band === undefined ? 0 : content.data.length + 8 * COEFFICIENT * Math.max(...coefficientsOf(content, band));
    const styled = typeof found === "number" || found === undefined ? 0 : found.data.length;
    const bytes = 4 * resultWordsOf(width, height, channels) + Math.max(styled, fourier);
    return { job, way, params, asked: form.ask(params), style: found, band, bytes };
  }

  /** Frees everything and destroys the device if it is ours. Idempotent. */
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

/** Opens a device for one closed form, which disposing of it closes. @throws StylizingError `ARGUMENT`, `NO_ADAPTER` or `GPU` */
export async function openClosedForm(name: string, options: ClosedFormOptions = {}): Promise<Restyler> {
  methodNamed(name);
  const forms = await ClosedForms.open(options);
  try {
    const restyler = forms.restyler(name);
    restyler[Symbol.asyncDispose] = () => forms[Symbol.asyncDispose]();
    return restyler;
  } catch (error) {
    forms.dispose();
    throw error;
  }
}

function bankOf(owner: ClosedForms, bank: RestyleBank | undefined): ClosedFormBank | undefined {
  if (bank === undefined) return undefined;
  if (!(bank instanceof ClosedFormBank))
    throw new StylizingError("ARGUMENT", "The bank is of another kind of restyler.", "Make one with this one's styleBank().");
  bank.checkOwner(owner);
  return bank;
}

function checkNumber(style: number, bank: ClosedFormBank | undefined, what: string): void {
  if (!bank)
    throw new StylizingError("ARGUMENT", `${what} names style ${style}, and there is no bank.`, "Give the bank, or an image.");
  if (Number.isInteger(style) && style >= 0 && style < bank.size) return;
  throw new StylizingError("ARGUMENT", `${what} names style ${style}, and the bank has ${bank.size}.`, "They count from 0.");
}

function refuseGrey({ name }: Method, way: Way, { channels }: PixelImage): void {
  if (channels === 3 || takesGrey(way)) return;
  throw new StylizingError(
    "ARGUMENT",
    `${name} is of colours, and an image is grey.`,
    "Decode with 3 channels, or take colorist, histogram-match or fda.",
  );
}

/** {@link ClosedForms.fitRandStainNA} on a device of its own. @throws StylizingError likewise, and `NO_ADAPTER` */
export async function fitRandStainNA(
  images: Iterable<PixelImage> | AsyncIterable<PixelImage>,
  { signal, ...options }: ClosedFormOptions & { signal?: AbortSignal | undefined } = {},
): Promise<RandStainTable> {
  await using forms = await ClosedForms.open(options);
  return await forms.fitRandStainNA(images, signal);
}
