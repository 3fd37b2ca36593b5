import { StylizingError } from "../errors.js";
import { checkPlanes } from "../image/checks.js";
import { type Batch, type Image, type Images, toBatch } from "../models/batch.js";
import { Calls } from "../models/calls.js";
import { type ModelHost, openModel } from "../models/host.js";
import { checkLoadOptions, type ModelReport, modelReport } from "../models/load.js";
import { type FoundModel, findModelOf } from "../models/open.js";
import { inPieces } from "../models/pieces.js";
import type { VitConfig } from "../models/vit/config.js";
import { vit } from "../models/vit/kind.js";
import { softmax } from "../models/vit/softmax.js";
import { VitEngine, type VitResult } from "./engine.js";
import {
  type AttentionMap,
  type AttentionMaps,
  type Classification,
  type ClassifierOptions,
  type ClassifyOptions,
  checkHead,
  checkKnownStatistics,
} from "./types.js";

/** Submissions of a call that may be on their way at a time. */
const UNDER_WAY = 2;

/**
 * A ViT classifier (Dosovitskiy et al., arXiv 2010.11929; DeiT, arXiv 2012.12877) on a GPU: which class an image is of, and what
 * its CLS token looks at. Calls may overlap; they are queued. `dispose()` it, or use `await using`: a living device keeps the
 * process from exiting.
 */
export class Classifier implements Disposable, AsyncDisposable {
  readonly config: VitConfig;
  readonly #found: FoundModel<VitConfig>;
  readonly #options: ClassifierOptions;
  readonly #host: ModelHost<VitEngine>;
  /** What images are brought to. */
  readonly #input: Pick<VitConfig, "image_size" | "in_channels" | "patch_size" | "embed_dim">;
  readonly #calls = new Calls("classifier");

  private constructor(found: FoundModel<VitConfig>, size: number, options: ClassifierOptions, host: ModelHost<VitEngine>) {
    this.#found = found;
    this.#options = options;
    this.config = found.config;
    this.#host = host;
    this.#input = { ...found.config, image_size: size };
  }

  /**
   * Loads a classifier onto a device and compiles its kernels.
   * @param model a folder, a `.safetensors` file, a repository of the Hugging Face Hub (`timm/deit_small_patch16_224.fb_in1k`), or
   *   `hashed:SEED` with a preset or a configuration. Names of timm, DeiT, DINO, MAE and Hugging Face's ViT are understood.
   * @throws StylizingError `ARGUMENT`, `CONFIG`, `CHECKPOINT`, `DOWNLOAD`, `NO_ADAPTER`, `GPU`, or `OUTPUT` where the software
   *   driver finds no folder to be unpacked into; the signal's reason when aborted. Nothing stays allocated then.
   */
  static async load(model: string, options: ClassifierOptions = {}): Promise<Classifier> {
    checkLoadOptions(options);
    return Classifier.loadFound(await findModelOf(vit, model, options), options);
  }

  /** @internal `load` for whoever has found the model already. */
  static async loadFound(found: FoundModel<VitConfig>, options: ClassifierOptions): Promise<Classifier> {
    checkLoadOptions(options);
    const { patch_size: patch, image_size } = found.config;
    const size = options.imageSize ?? image_size;
    if (!(Number.isSafeInteger(size) && size >= patch && size % patch === 0))
      throw new StylizingError(
        "ARGUMENT",
        `imageSize is ${size}.`,
        `Give a multiple of this model's patches of ${patch} pixels.`,
      );
    const input = found.config.mean ? "bytes" : "planes";
    const host = await openModel(found, options, {
      create: (gpu, source, settings) => VitEngine.create(gpu, found.config, source, settings),
      warm: (engine) => engine.warm({ images: 1, height: size, width: size, input }),
    });
    options.onProgress?.({ phase: "ready", loaded: 1, total: 1 });
    return new Classifier(found, size, options, host);
  }

  /** Side of the square that images are scaled to, in pixels. */
  get imageSize(): number {
    return this.#input.image_size;
  }

  /** Images that one submission holds: what was asked for, or what suits the device, and no more than fits it. */
  get batchSize(): number {
    return this.#host.engine.largestBatch(this.#request("bytes"), this.#options.batchSize);
  }

  /** The device that the model runs on, for buffers of your own. It changes when a lost device is replaced. */
  get device(): GPUDevice {
    return this.#host.gpu.device;
  }

  get report(): ModelReport {
    return modelReport(this.#found.label, this.#host.gpu);
  }

  /** Names of the classes, in the order of the logits: their numbers where names are not known. */
  get classes(): readonly string[] {
    const { classes, num_classes } = this.config;
    return classes ?? Array.from({ length: num_classes }, (_, index) => String(index));
  }

  /** Bytes that the model holds on the device: weights and activations. */
  memory(): { deviceBytes: number } {
    return { deviceBytes: this.#host.gpu.allocatedBytes };
  }

  /**
   * Classifies images. Those of another size are scaled and padded to the model's (8-bit only).
   * @returns one result for one image, a list otherwise.
   * @throws StylizingError `ARGUMENT` (also where the model has no head), `GPU`, `DEVICE_LOST` or `DISPOSED`; the signal's reason
   *   when aborted.
   */
  classify(images: Image, options?: ClassifyOptions): Promise<Classification>;
  classify(images: Exclude<Images, Image>, options?: ClassifyOptions): Promise<Classification[]>;
  classify(images: Images, options: ClassifyOptions = {}): Promise<Classification | Classification[]> {
    return this.#calls.track(async () => {
      const { num_classes: count } = this.config;
      checkHead(this.config);
      const batch = await this.#batch(images);
      const [heads, rows, columns] = this.#mapShape;
      const each = heads * rows * columns;
      const results: Classification[] = [];
      const { attention = false } = options;
      await this.#inBatches(batch, options, { attention }, (from, result) => {
        for (let image = 0; image * count < result.logits.length; image++) {
          const said = this.#classification(result.logits.slice(image * count, (image + 1) * count));
          if (attention)
            said.attention = { data: result.attention.slice(image * each, (image + 1) * each), shape: [heads, rows, columns] };
          results[from + image] = said;
        }
      });
      return batch.guise === "one" ? results[0]! : results;
    });
  }

  /**
   * What the CLS token looks at in the last block, by head (Caron et al., arXiv 2104.14294, figure 1).
   * @throws StylizingError as `classify` does, but takes a model without a head.
   */
  attention(images: Images, options: ClassifyOptions = {}): Promise<AttentionMaps> {
    return this.#calls.track(async () => {
      const batch = await this.#batch(images);
      const [heads, rows, columns] = this.#mapShape;
      const each = heads * rows * columns;
      const data = new Float32Array(batch.count * each);
      await this.#inBatches(batch, options, { attention: true }, (from, result) => data.set(result.attention, from * each));
      return { data, shape: [batch.count, heads, rows, columns] as const };
    });
  }

  /**
   * What the head is given of images: the CLS token behind the final norm, for whoever compares sets of them (`frechetDistance`).
   * @returns of each image `config.embed_dim` numbers
   * @throws StylizingError as `classify` does, but takes a model without a head.
   */
  features(images: Images, options: ClassifyOptions = {}): Promise<Float32Array[]> {
    return this.#calls.track(async () => {
      const batch = await this.#batch(images);
      const { embed_dim: width } = this.config;
      const features: Float32Array[] = [];
      await this.#inBatches(batch, options, { tokens: true }, (from, { tokens }) => {
        const each = (1 + (this.imageSize / this.config.patch_size) ** 2) * width;
        for (let image = 0; image * each < tokens.length; image++)
          features[from + image] = tokens.slice(image * each, image * each + width);
      });
      return features;
    });
  }

  /**
   * The bare model on normalised planes, for parity.
   * @param pixels [images, C, height, width], height and width multiples of the patch size
   * @returns logits [images, classes], tokens [images, 1 + patches, D] behind the final norm, attention [images, heads, patches]
   * @throws StylizingError `ARGUMENT`, `GPU`, `DEVICE_LOST` or `DISPOSED`
   */
  forward(pixels: Float32Array, height: number, width: number): Promise<VitResult> {
    return this.#calls.track(async () => {
      checkPlanes(pixels, "pixels");
      const { in_channels, patch_size: patch } = this.config;
      const whole = (side: number) => Number.isSafeInteger(side) && side >= patch && side % patch === 0;
      const images = pixels.length / (in_channels * height * width);
      if (!whole(height) || !whole(width) || !Number.isSafeInteger(images) || images < 1)
        throw new StylizingError(
          "ARGUMENT",
          `${pixels.length} numbers are no images of ${in_channels} × ${height} × ${width} in patches of ${patch}.`,
          "Give [images, C, H, W], H and W multiples of the patch size.",
        );
      const job = { images, height, width, input: "planes", tokens: true, attention: true, pixels: pixels.slice() } as const;
      return this.#host.recovering((engine) => engine.run(job));
    });
  }

  #classification(logits: Float32Array): Classification {
    const probabilities = softmax(logits);
    let index = 0;
    for (let i = 1; i < probabilities.length; i++) if (logits[i]! > logits[index]!) index = i;
    return { index, label: this.classes[index]!, probability: probabilities[index]!, logits, probabilities };
  }

  /** Of an image. */
  get #mapShape(): AttentionMap["shape"] {
    const side = this.imageSize / this.config.patch_size;
    return [this.config.num_heads, side, side];
  }

  #request(input: "bytes" | "floats") {
    return { height: this.imageSize, width: this.imageSize, input };
  }

  async #batch(images: Images): Promise<Batch> {
    checkKnownStatistics(this.config);
    return toBatch(images, this.#input, "image");
  }

  async #inBatches(
    batch: Batch,
    { signal, onProgress }: ClassifyOptions,
    wanted: { attention?: boolean; tokens?: boolean },
    take: (from: number, result: VitResult) => void,
  ): Promise<void> {
    const request = { ...this.#request(batch.format), ...wanted };
    await this.#host.recovering((engine) => {
      const { onNote, batchSize } = this.#options;
      const onSmaller = (size: number, tooLarge: number) =>
        onNote?.(`a batch of ${tooLarge} does not fit the device's memory: going on with ${size}`);
      const options = { size: engine.largestBatch(request, batchSize), underWay: UNDER_WAY, signal, onProgress, onSmaller };
      return inPieces(batch.count, options, async (from, images) =>
        take(from, await engine.run({ ...request, images, pixels: batch.pixels(from, images) })),
      );
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
