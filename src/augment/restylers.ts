import { inColour } from "../image/luma.js";
import type { PixelImage } from "../image/types.js";
import { type FoundModel, findModel } from "../models/open.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import type { LoadOptions } from "../painter/types.js";
import { ClosedForms } from "../restyle/closed-forms.js";
import { MODEL_METHOD, type RandStainTable } from "../restyle/methods.js";
import type { Method, Restyler } from "../restyle/types.js";
import { VitRestyler } from "./vit-restyler.js";

export interface RestylerOptions {
  /** Of `stylizing-vit`: a published name, a folder, a `.safetensors` file, or `demo`. */
  model: string;
  load: LoadOptions;
}

/** Methods by name, each opened when it is first needed; closed forms share a device. */
export class Restylers implements AsyncDisposable {
  readonly #options: RestylerOptions;
  readonly #open = new Map<string, Promise<Restyler>>();
  #forms: Promise<ClosedForms> | undefined;

  constructor(options: RestylerOptions) {
    this.#options = options;
  }

  /** @throws StylizingError as opening a device, or loading the model, does */
  get(method: Method): Promise<Restyler> {
    let restyler = this.#open.get(method.name);
    if (!restyler) {
      restyler = this.#make(method);
      this.#open.set(method.name, restyler);
    }
    return restyler;
  }

  /** Measures RandStainNA's table on images; grey ones count as three equal channels. */
  async table(images: AsyncIterable<PixelImage>, signal?: AbortSignal): Promise<RandStainTable> {
    async function* coloured() {
      for await (const image of images) yield inColour(image);
    }
    return (await this.#closedForms()).fitRandStainNA(coloured(), signal);
  }

  #closedForms(): Promise<ClosedForms> {
    this.#forms ??= ClosedForms.open(this.#options.load);
    return this.#forms;
  }

  async #make(method: Method): Promise<Restyler> {
    const { model, load } = this.#options;
    if (method === MODEL_METHOD) {
      const found: FoundModel = await findModel(model, load);
      // An image's bits must not depend on what is beside it.
      return new VitRestyler(method, await StylizingViT.loadFound(found, { ...load, tune: "fixed" }));
    }
    return (await this.#closedForms()).restyler(method.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = await Promise.allSettled(this.#open.values());
    for (const one of all) if (one.status === "fulfilled") await one.value[Symbol.asyncDispose]();
    await this.#forms?.then(
      (forms) => forms[Symbol.asyncDispose](),
      () => {},
    );
  }
}
