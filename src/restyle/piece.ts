import { resize } from "../image/resize.js";
import { GLASS } from "../image/tissue-weight.js";
import type { PixelImage } from "../image/types.js";
import type { ClosedFormBank } from "./bank.js";
import type { Item } from "./batch.js";
import type { RestyleEngine, TaskResult } from "./engine.js";
import type { Params, RestyleJob, RestyleOptions } from "./types.js";
import type { Asked, Way } from "./ways.js";

/** A job that was looked at. */
export interface Prepared {
  job: RestyleJob;
  way: Way;
  params: Params;
  asked: Asked;
  /** An image, or its number in the bank; undefined where none is needed. */
  style: PixelImage | number | undefined;
  /** Half the band of Fourier domain adaptation, where it is that. */
  band: number | undefined;
  /** That it takes on the device. */
  bytes: number;
}

/** Styles of a submission, each once. */
class Styles {
  readonly images: PixelImage[] = [];
  readonly #numbers = new Map<PixelImage, Map<string, Promise<number>>>();

  /** The number of an image, made by `make` where it is not there yet; `key` tells apart what is made of one image. */
  number(image: PixelImage, key: string, make: () => PixelImage | Promise<PixelImage>): Promise<number> {
    const made = this.#numbers.get(image) ?? new Map<string, Promise<number>>();
    this.#numbers.set(image, made);
    const number = made.get(key) ?? (async () => this.images.push(await make()) - 1)();
    made.set(key, number);
    return number;
  }
}

/** Restyles jobs of one way in one submission. @throws StylizingError `GPU`, `DEVICE_LOST`; the signal's reason when aborted */
export async function restylePiece(
  engine: RestyleEngine,
  jobs: readonly Prepared[],
  bank: ClosedFormBank | undefined,
  { background = "paint", skipBlank = false, shared, signal }: RestyleOptions,
): Promise<TaskResult[]> {
  const { way } = jobs[0]!;
  const styles = new Styles();
  const items: Item[] = [];
  for (const { job, asked, style, band } of jobs) {
    const { content, strength = 1 } = job;
    const image = typeof style === "number" ? bank!.styles[style]! : style;
    const { width, height } = content;
    let number: number | undefined;
    // Coefficients of a style have its content's size and band.
    if (image && way.kind === "fourier")
      number = await styles.number(image, `${width} ${height} ${band}`, () =>
        typeof style === "number" ? bank!.resized(style, width, height, signal) : resize(image, width, height, { signal }),
      );
    else if (image && typeof style !== "number") number = await styles.number(image, "", () => image);
    items.push({ content, asked, strength, style: number, band });
  }
  const kept: number[] = [];
  for (const [at, { style }] of jobs.entries()) {
    if (typeof style !== "number" || way.kind === "fourier") continue;
    if (!kept.includes(style)) kept.push(style);
    items[at]!.style = styles.images.length + kept.indexOf(style);
  }
  const records = kept.length > 0 ? await bank!.records(engine, way, signal) : undefined;
  return engine.run({
    ...{ way, items, styles: styles.images, skipBlank, shared },
    background: background === "keep" ? GLASS : undefined,
    kept: kept.map((index) => ({ records: records!, index })),
  });
}
