import { StylizingError } from "../../errors.js";
import type { WeightSource } from "../../hub/weight-source.js";
import { type VitConfig, vitDimensions } from "./config.js";
import { vitParameters } from "./parameters.js";
import { resizePositions } from "./positions.js";

/**
 * A pre-trained classifier's weights for another task: positions are resized to another grid (as DINO does at every forward pass; here
 * once), patch weights are repeated along the channels and cut where their number differs, and a head for other classes begins
 * anew, as PyTorch's linear layers do, which is what fine-tuning puts on a backbone. The same head is kept.
 * @throws StylizingError `CONFIG` where the backbones differ in more than that
 */
export async function adaptWeights(
  source: WeightSource,
  from: VitConfig,
  to: VitConfig,
  seed: number,
): Promise<Map<string, Float32Array>> {
  for (const key of ["patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias"] as const)
    if (from[key] !== to[key])
      throw new StylizingError(
        "CONFIG",
        `${source.label} has a ${key} of ${from[key]}, and the configuration asks for ${to[key]}.`,
        "Begin with the weights of a model of this shape, or leave the configuration away.",
      );
  const { parameters } = vitParameters(to);
  const anew = parameters.initial(seed);
  const sameHead = from.num_classes === to.num_classes && sameNames(from, to);
  const weights = new Map<string, Float32Array>();
  for (const { key } of parameters.tensors) {
    if (key.startsWith("head.") && !sameHead) weights.set(key, anew.get(key)!);
    else weights.set(key, await source.read(key));
  }
  const { side } = vitDimensions(to);
  const positions = weights.get("pos_embed")!;
  weights.set("pos_embed", resizePositions(positions, to.embed_dim, vitDimensions(from).side, side, side));
  const patches = "patch_embed.proj.weight";
  weights.set(patches, repeatChannels(weights.get(patches)!, from, to));
  return weights;
}

const sameNames = (from: VitConfig, to: VitConfig): boolean =>
  !from.classes || !to.classes || from.classes.every((name, index) => name === to.classes![index]);

/** [D, C, P, P] with the channels repeated and cut to another number. */
export function repeatChannels(
  weights: Float32Array,
  { in_channels: before, patch_size: patch, embed_dim: d }: VitConfig,
  { in_channels: after }: Pick<VitConfig, "in_channels">,
): Float32Array {
  if (before === after) return weights;
  const area = patch * patch;
  const out = new Float32Array(d * after * area);
  for (let row = 0; row < d; row++)
    for (let c = 0; c < after; c++) {
      const at = (row * before + (c % before)) * area;
      out.set(weights.subarray(at, at + area), (row * after + c) * area);
    }
  return out;
}
