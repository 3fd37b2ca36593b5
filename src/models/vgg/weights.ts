import { join } from "node:path";
import { StylizingError } from "../../errors.js";
import { type DownloadOptions, downloadRepository } from "../../hub/download.js";
import { HashedWeights } from "../../hub/hashed.js";
import { SafetensorsFile } from "../../hub/safetensors.js";
import type { WeightSource } from "../../hub/weight-source.js";

export interface Stage {
  convolutions: number;
  channels: number;
}

/** Convolutions of the five stages, each with its ReLU; a pooling behind each stage. */
const stagesOf = (...convolutions: readonly number[]): readonly Stage[] =>
  [64, 128, 256, 512, 512].map((channels, stage) => ({ convolutions: convolutions[stage]!, channels }));

/** Stages of VGG-19, which losses look through. */
export const VGG_STAGES = stagesOf(2, 2, 4, 4, 4);

/** A network of the family, without batch normalisation (Simonyan and Zisserman 2015). */
export interface VggNetwork {
  name: string;
  stages: readonly Stage[];
  /** Where ImageNet weights are to be had. */
  repository: string;
  /** What else there is, where the Hub cannot be reached. */
  otherwise: string;
}

export const VGG_19: VggNetwork = {
  name: "VGG-19",
  stages: VGG_STAGES,
  repository: "timm/vgg19.tv_in1k",
  otherwise: "Or give a file with --vgg FILE, or train against seeded random convolutions with --vgg random:1.",
};

/** Whose features metrics compare. */
export const VGG_16: VggNetwork = {
  name: "VGG-16",
  stages: stagesOf(2, 2, 3, 3, 3),
  repository: "timm/vgg16.tv_in1k",
  otherwise: "Or give a file with --vgg FILE.",
};

/** Smallest image of which the last pooling leaves a pixel. */
export const SMALLEST_IMAGE = 32;

/** Keys without `.weight` and `.bias`, by stage, as checkpoints of this model name them; numbers count ReLUs and poolings too. */
export function vggKeys(stages = VGG_STAGES): string[][] {
  let index = 0;
  return stages.map(({ convolutions }) => {
    const keys = Array.from({ length: convolutions }, (_, convolution) => `vgg_encoder.features_${index + 2 * convolution}`);
    index += 2 * convolutions + 1;
    return keys;
  });
}

/** Shapes by key. */
export function vggShapes(channels: number, stages = VGG_STAGES): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  let inputs = channels;
  for (const [stage, keys] of vggKeys(stages).entries()) {
    for (const key of keys) {
      const outputs = stages[stage]!.channels;
      shapes.set(`${key}.weight`, [outputs, inputs, 3, 3]).set(`${key}.bias`, [outputs]);
      inputs = outputs;
    }
  }
  return shapes;
}

/** A file's VGG, whatever it calls its tensors; images of fewer or more channels than its own get its filters adapted. */
class VggFile implements WeightSource {
  readonly label: string;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly #file: SafetensorsFile;
  readonly #names: ReadonlyMap<string, string>;

  constructor(file: SafetensorsFile, channels: number, { name: network, stages, repository }: VggNetwork) {
    this.label = file.path;
    this.#file = file;
    this.shapes = vggShapes(channels, stages);
    const names = new Map<string, string>();
    const stageOf = new Map(vggKeys(stages).flatMap((keys, stage) => keys.map((key) => [key, stage] as const)));
    for (const [key, shape] of this.shapes) {
      // torchvision and timm call them features.N, the lpips package net.sliceK.N, checkpoints of Stylizing ViT vgg_encoder.features_N.
      const plain = key.replace("vgg_encoder.features_", "features.");
      const sliced = plain.replace("features", `net.slice${stageOf.get(key.replace(/\.\w+$/, ""))! + 1}`);
      const name = [key, `module.${key}`, plain, sliced].find((candidate) => file.tensors.has(candidate));
      if (!name) {
        throw new StylizingError(
          "CHECKPOINT",
          `${file.path} has neither ${key} nor ${plain}.`,
          `Give the weights of a ${network} without batch normalisation, such as ${repository}.`,
        );
      }
      const found = file.tensors.get(name)!.shape;
      const first = shape.length === 4 && key === [...this.shapes.keys()][0];
      const fits = found.length === shape.length && found.every((size, axis) => size === shape[axis] || (first && axis === 1));
      if (!fits) {
        throw new StylizingError(
          "CHECKPOINT",
          `${file.path}: ${name} has the shape [${found.join(", ")}], and a ${network} has [${shape.join(", ")}] there.`,
          `Give the weights of a ${network} without batch normalisation.`,
        );
      }
      names.set(key, name);
    }
    this.#names = names;
  }

  async read(key: string): Promise<Float32Array> {
    const name = this.#names.get(key);
    if (!name) throw new StylizingError("CHECKPOINT", `${this.label} has no tensor ${key}.`, "Read one of the keys in `shapes`.");
    const values = await this.#file.read(name);
    const [outputs = 0, wanted = 0] = this.shapes.get(key)!;
    const given = this.#file.tensors.get(name)!.shape[1] ?? wanted;
    if (this.shapes.get(key)!.length !== 4 || given === wanted) return values;
    // As timm does: one channel gets the sum of the filters, several get them in turn, scaled so that sums stay alike.
    const adapted = new Float32Array(outputs * wanted * 9);
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < wanted; c++) {
        for (let tap = 0; tap < 9; tap++) {
          const at = (channel: number) => values[(o * given + channel) * 9 + tap]!;
          let value = 0;
          if (wanted === 1) for (let channel = 0; channel < given; channel++) value += at(channel);
          else value = (at(c % given) * given) / wanted;
          adapted[(o * wanted + c) * 9 + tap] = value;
        }
      }
    }
    return adapted;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }
}

/**
 * Weights of a frozen VGG whose features losses or metrics compare.
 * @param source a safetensors file; `hub` for ImageNet's from the Hugging Face Hub; `random:SEED` (or `hashed:SEED`) for seeded
 *   random convolutions of He's variance (MODEL: hashed numbers), which need no network and see less.
 * @param channels of the images; filters for RGB are adapted as timm does.
 * @param network which of the family; VGG-19 where nothing is said.
 * @throws StylizingError `ARGUMENT` for a malformed seed, `DOWNLOAD` where the Hub cannot be reached, `CHECKPOINT` where the file holds no
 *   such network.
 */
export async function openVgg(
  source: string,
  channels: number,
  options: DownloadOptions = {},
  network: VggNetwork = VGG_19,
): Promise<WeightSource> {
  const seeded = /^(?:random|hashed):(.*)$/.exec(source);
  if (seeded) {
    const seed = seeded[1]!.trim() === "" ? Number.NaN : Number(seeded[1]);
    if (!Number.isSafeInteger(seed)) {
      throw new StylizingError("ARGUMENT", `"${source}" has no whole number for a seed.`, "Write random:1, for example.");
    }
    return new HashedWeights(vggShapes(channels, network.stages), seed);
  }
  let path = source;
  if (source === "hub") {
    try {
      path = join((await downloadRepository(network.repository, options)).folder, "model.safetensors");
    } catch (error) {
      if (!(error instanceof StylizingError) || error.code !== "DOWNLOAD") throw error;
      throw new StylizingError(
        "DOWNLOAD",
        error.message.slice(0, -error.fix.length).trimEnd(),
        `${error.fix} ${network.otherwise}`,
        { cause: error },
      );
    }
  }
  const file = await SafetensorsFile.open(path);
  try {
    return new VggFile(file, channels, network);
  } catch (error) {
    await file.close();
    throw error;
  }
}
