import { join } from "node:path";
import { StylizingError } from "../../errors.js";
import { type DownloadOptions, downloadRepository } from "../../hub/download.js";
import { SafetensorsFile } from "../../hub/safetensors.js";
import { VGG_16 } from "./weights.js";

/** The `lin` weights of LPIPS 0.1 for VGG-16 (Zhang et al., arXiv 1801.03924; BSD-2-Clause), in safetensors. */
const HUB = {
  repository: "vivym/lpips",
  revision: "270571f1fb2a2c4c5f920cec96cd87838c345982",
  weights: "vgg_lpips_linear.safetensors",
};

/** What a level's weights are called: by the lpips package (twice), and by the file of the Hub. */
const namesOf = (level: number): string[] => [`lin${level}.model.1.weight`, `lins.${level}.model.1.weight`, `${level}.weight`];

async function fromHub(options: DownloadOptions): Promise<string> {
  const { repository, revision, weights } = HUB;
  try {
    const { folder } = await downloadRepository(repository, { ...options, revision, weights });
    return join(folder, weights);
  } catch (error) {
    if (!(error instanceof StylizingError) || error.code !== "DOWNLOAD") throw error;
    const problem = error.message.slice(0, -error.fix.length).trimEnd();
    const fix = `${error.fix} Or give a file with --lpips FILE: weights/v0.1/vgg.pth of the lpips package as safetensors.`;
    throw new StylizingError("DOWNLOAD", problem, fix, { cause: error });
  }
}

/**
 * Weights of LPIPS by level of VGG-16 and channel, which its authors fitted to people's judgements.
 * @param source a safetensors file, which may be that of VGG-16 too, or `hub`
 * @returns by level, [channels], none negative
 * @throws StylizingError `DOWNLOAD` where the Hub cannot be reached, `CHECKPOINT` where a file does not hold them
 */
export async function readLinear(source: string, options: DownloadOptions = {}): Promise<Float32Array[]> {
  await using file = await SafetensorsFile.open(source === "hub" ? await fromHub(options) : source);
  const levels: Float32Array[] = [];
  for (const [level, { channels }] of VGG_16.stages.entries()) {
    const fix = "Give the linear weights of LPIPS 0.1 for VGG-16: [1, C, 1, 1] for C of 64, 128, 256, 512, 512.";
    const name = namesOf(level).find((candidate) => file.tensors.has(candidate));
    if (!name) throw new StylizingError("CHECKPOINT", `${file.path} has none of ${namesOf(level).join(", ")}.`, fix);
    const { shape } = file.tensors.get(name)!;
    const count = shape.reduce((product, size) => product * size, 1);
    if (count !== channels || Math.max(...shape) !== channels) {
      const problem = `${file.path}: ${name} has the shape [${shape.join(", ")}], and there are ${channels} channels.`;
      throw new StylizingError("CHECKPOINT", problem, fix);
    }
    const values = await file.read(name);
    const negative = values.findIndex((value) => value < 0);
    if (negative >= 0)
      throw new StylizingError("CHECKPOINT", `${file.path}: ${name} has ${values[negative]} among its weights.`, fix);
    levels.push(values);
  }
  return levels;
}

/** Whether a file has weights of LPIPS beside others. */
export async function hasLinear(path: string): Promise<boolean> {
  await using file = await SafetensorsFile.open(path);
  return VGG_16.stages.every((_, level) => namesOf(level).some((name) => file.tensors.has(name)));
}
