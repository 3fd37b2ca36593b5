import { stat } from "node:fs/promises";
import { Classifier } from "../classifier/classifier.js";
import { StylizingError } from "../errors.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import type { PixelImage } from "../image/types.js";
import { VGG16_FEATURES, Vgg16 } from "../metrics/vgg16.js";
import type { LoadProgress } from "../models/load.js";
import { hasLinear, readLinear } from "../models/vgg/linear.js";
import { openVgg, VGG_16 } from "../models/vgg/weights.js";

/** The name of VGG-16 among networks. */
export const VGG16 = "vgg16";
/** In the place of networks: nothing that needs one, LPIPS neither. */
export const NO_NETWORK = "none";

export interface NetworkOptions {
  /** Networks whose features are compared: `vgg16` (the default), or classifiers as `Classifier.load` takes them; `none` for none, and no LPIPS. */
  features?: readonly string[] | undefined;
  /** VGG-16: a safetensors file, `hub` (the default) or `random:SEED`. */
  vgg?: string | undefined;
  /** The linear weights of LPIPS: a safetensors file; by default those in VGG-16's file, where it has some, else the Hub's. */
  lpips?: string | undefined;
  adapter?: AdapterChoice | undefined;
  batchSize?: number | undefined;
  onNote?: ((note: string) => void) | undefined;
  onLoad?: ((progress: LoadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** A network that gives every image a vector. */
export interface FeatureNetwork {
  /** Numbers of it. */
  readonly width: number;
  /** For reports. */
  readonly about: { features: string; weights: string };
  features(images: readonly PixelImage[]): Promise<Float32Array[]>;
}

/** A metric that is left out, and how to get it. */
export type Missing = { metric: string; problem: string; fix: string };

/** Reasons for which a network that nobody asked for by name is done without. */
const DISPENSABLE = ["DOWNLOAD", "NO_ADAPTER"];

/** The networks of a measurement: those that are to be had. */
export class Networks implements AsyncDisposable {
  readonly features: FeatureNetwork[] = [];
  readonly missing: Missing[] = [];
  readonly vggFeatures = VGG16_FEATURES;
  /** Distances of pairs, where there are the weights. */
  lpips:
    | {
        about: { trunk: string; weights: string };
        distances(a: readonly PixelImage[], b: readonly PixelImage[]): Promise<number[]>;
      }
    | undefined;
  /** Images that suit all of them. */
  batchSize: number | undefined;
  readonly #open: AsyncDisposable[] = [];

  private constructor() {}

  /**
   * Loads what is needed.
   * @param wanted whether sets are compared by features, and pairs by LPIPS
   * @throws StylizingError where what was named cannot be loaded
   */
  static async open(options: NetworkOptions, wanted: { sets: boolean; pairs: boolean }): Promise<Networks> {
    const networks = new Networks();
    if (options.features?.includes(NO_NETWORK)) {
      if (options.features.length === 1 && options.vgg === undefined && options.lpips === undefined) return networks;
      throw new StylizingError(
        "ARGUMENT",
        "No network is wanted, and one is named.",
        `Give ${NO_NETWORK} alone, or leave it away.`,
      );
    }
    try {
      await networks.#openVgg(options, wanted);
      if (wanted.sets)
        for (const name of options.features ?? []) if (name !== VGG16) await networks.#openClassifier(name, options);
      return networks;
    } catch (error) {
      await networks[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #openVgg(options: NetworkOptions, { sets, pairs }: { sets: boolean; pairs: boolean }): Promise<void> {
    const { features, vgg = "hub", adapter, batchSize, onNote, onLoad, signal } = options;
    const compares = sets && (features ?? [VGG16]).includes(VGG16);
    if (!compares && !pairs) return;
    const download = { onNote, signal, ...(onLoad ? { onProgress: onLoad } : {}) };
    const asked = options.vgg !== undefined || features?.includes(VGG16) === true;
    const frechet = compares ? ["Fréchet distance"] : [];
    const beside = !/^(hub|(random|hashed):.*)$/.test(vgg) && (await isFile(vgg)) && (await hasLinear(vgg));
    const linear = options.lpips ?? (beside ? vgg : "hub");
    // Both are asked for at once: where there is no Hub, each waits for it a while.
    const [weights, file] = await Promise.allSettled([
      pairs ? readLinear(linear, { signal }) : undefined,
      openVgg(vgg, 3, download, VGG_16).then((source) => source[Symbol.asyncDispose]()),
    ]);
    if (weights.status === "rejected") this.#doWithout(["LPIPS"], weights.reason, options.lpips !== undefined);
    const distances = pairs && weights.status === "fulfilled";
    const metrics = [...(distances ? ["LPIPS"] : []), ...frechet];
    if (metrics.length === 0) return;
    let network: Vgg16;
    try {
      if (file.status === "rejected") throw file.reason;
      network = await Vgg16.load({ vgg, lpips: distances && linear, adapter, batchSize, ...download });
    } catch (error) {
      this.#doWithout(metrics, error, asked);
      return;
    }
    this.#add(network, network.batchSize);
    onNote?.(`VGG-16 (${vgg}) on ${network.adapter.name}, f32`);
    if (compares) {
      const about = { features: VGG16_FEATURES, weights: vgg };
      this.features.push({ width: network.width, about, features: (images) => network.features(images) });
    }
    if (!distances) return;
    const about = { trunk: "VGG-16", weights: linear === vgg ? vgg : `${vgg}, ${linear}` };
    this.lpips = { about, distances: (a, b) => network.lpips(a, b) };
  }

  /** @throws `error` where somebody asked for what failed, or it is of another kind than what may be done without */
  #doWithout(metrics: readonly string[], error: unknown, asked: boolean): void {
    if (asked || !(error instanceof StylizingError && DISPENSABLE.includes(error.code))) throw error;
    const { message, fix } = error;
    for (const metric of metrics) this.missing.push({ metric, problem: message.slice(0, -fix.length).trimEnd(), fix });
  }

  async #openClassifier(name: string, { adapter, batchSize, onNote, onLoad, signal }: NetworkOptions): Promise<void> {
    const network = await Classifier.load(name, {
      precision: "f32",
      ...{ onNote, signal, batchSize, ...(onLoad ? { onProgress: onLoad } : {}), ...(adapter ? { adapter } : {}) },
    });
    this.#add(network, network.batchSize);
    const { embed_dim: width } = network.config;
    const about = { features: `${name}, CLS token behind the final norm, ${width}`, weights: network.report.model };
    this.features.push({ width, about, features: (images) => network.features(images) });
  }

  #add(network: AsyncDisposable, batchSize: number): void {
    this.#open.push(network);
    this.batchSize = Math.min(batchSize, this.batchSize ?? batchSize);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const network of this.#open) await network[Symbol.asyncDispose]();
  }
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (about) => about.isFile(),
    () => false,
  );
