import { StylizingError } from "../errors.js";
import { greyOf } from "../image/luma.js";
import { tissueWeights } from "../image/tissue-weight.js";
import type { PixelImage } from "../image/types.js";
import type { Scale } from "../painter/sizing.js";
import { StyleBank } from "../painter/style-bank.js";
import type { StylizingViT } from "../painter/stylizing-vit.js";
import type { Method, Restyled, RestyleJob, RestyleOptions, Restyler } from "../restyle/types.js";

/** Below this mean tissue weight an image is blank. */
const LEAST_TISSUE = 0.01;

/** The model as one of the methods: its results have the content's size and detail. It owns its model. */
export class VitRestyler implements Restyler {
  readonly method: Method;
  readonly #model: StylizingViT;

  /** @param model was loaded with `tune: "fixed"` where an image's bits must not depend on those beside it. */
  constructor(method: Method, model: StylizingViT) {
    this.method = method;
    this.#model = model;
  }

  get report() {
    const { model, tier, adapter } = this.#model.report;
    return { adapter: adapter.name, tier, model };
  }

  styleBank(styles: readonly PixelImage[], signal?: AbortSignal): Promise<StyleBank> {
    return this.#model.styleBank(styles, { signal });
  }

  async restyle(jobs: readonly RestyleJob[], options: RestyleOptions = {}): Promise<Restyled[]> {
    const results: Restyled[] = jobs.map(({ content, params }) => ({ image: content, applied: false, params }));
    const wanted = [...jobs.keys()].filter((index) => !options.skipBlank || !isBlank(jobs[index]!.content));
    // What is painted at one scale, in styles of one bank, is one call.
    const parts = new Map<string, number[]>();
    for (const index of wanted) {
      const { params, style } = jobs[index]!;
      const key = JSON.stringify([params.scale, typeof style]);
      parts.set(key, [...(parts.get(key) ?? []), index]);
    }
    for (const indices of parts.values()) await this.#part(jobs, indices, options, results);
    return results;
  }

  async #part(
    jobs: readonly RestyleJob[],
    indices: readonly number[],
    options: RestyleOptions,
    results: Restyled[],
  ): Promise<void> {
    const { background, signal } = options;
    const part = indices.map((index) => jobs[index]!);
    const own = new Map<PixelImage, number>();
    const styles = part.map(({ style }) => {
      if (typeof style === "number") return style;
      if (!style) throw new StylizingError("ARGUMENT", "stylizing-vit needs a style.", "Give one with each image.");
      if (!own.has(style)) own.set(style, own.size);
      return own.get(style)!;
    });
    const given = options.bank as StyleBank | undefined;
    if (own.size === 0 && !(given instanceof StyleBank))
      throw new StylizingError("ARGUMENT", "A style's number was given, and no bank.", "Give the bank that it counts in.");
    const bank = own.size > 0 ? await this.styleBank([...own.keys()], signal) : given!;
    try {
      const scale = part[0]!.params.scale as Scale | undefined;
      const sizing = { size: "keep", detail: "guided", scale, background } as const;
      const contents = part.map(({ content }) => content);
      const images = (await this.#model.stylize(contents, bank, { ...sizing, styles, signal })) as PixelImage[];
      for (const [at, index] of indices.entries()) {
        const { content, params, strength = 1 } = jobs[index]!;
        const image = sameChannels(images[at]!, content);
        results[index] = { image: strength === 1 ? image : blend(content, image, strength), applied: true, params };
      }
    } finally {
      if (own.size > 0) bank.dispose();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#model[Symbol.asyncDispose]();
  }
}

/** Whether there is next to no tissue on an image. */
export function isBlank(image: PixelImage): boolean {
  const weights = tissueWeights(image);
  return weights.reduce((sum, weight) => sum + weight, 0) < LEAST_TISSUE * weights.length;
}

/** A result with the content's channels: of grey, which a model in colour sees as three equal channels, the luma. */
function sameChannels(result: PixelImage, content: PixelImage): PixelImage {
  if (result.channels === content.channels) return result;
  if (content.channels === 1) return greyOf(result);
  throw new StylizingError(
    "ARGUMENT",
    "The model takes grey images, and one is in colour.",
    "Convert the images, or take another model.",
  );
}

/** s · result + (1 − s) · content, rounded. */
function blend(content: PixelImage, result: PixelImage, strength: number): PixelImage {
  const data = Uint8Array.from(result.data, (level, at) =>
    Math.floor(strength * level + (1 - strength) * content.data[at]! + 0.5),
  );
  return { ...result, data };
}
