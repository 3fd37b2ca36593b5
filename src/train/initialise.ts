import { hashedUniform } from "../hub/hashed.js";
import { dimensions, type ModelConfig, parameterShapes } from "../model/config.js";

/** `count` normal numbers of the given deviation, by the transform of Box and Muller. */
function hashedNormal(name: string, count: number, seed: number, deviation: number): Float32Array {
  const radius = hashedUniform(`${name}.radius`, count, seed);
  const angle = hashedUniform(`${name}.angle`, count, seed);
  // (1 - u) / 2 lies in (0, 1]: its logarithm is finite.
  return radius.map((u, i) => deviation * Math.sqrt(-2 * Math.log((1 - u) / 2)) * Math.cos(Math.PI * angle[i]!));
}

/** `count` numbers in [-bound, bound). */
function hashedWithin(name: string, count: number, seed: number, bound: number): Float32Array {
  return hashedUniform(name, count, seed).map((u) => bound * u);
}

/**
 * Position embedding [1, 1 + side², D] of sines and cosines in two dimensions, as MAE has it (He et al., arXiv 2111.06377,
 * `get_2d_sincos_pos_embed`): the first half of D is for the column, the second for the row; of each half the first part are
 * sines and the second cosines of position · 10000^(-i / (D/4)). The row of CLS is zero. Where D is not a multiple of 4, each
 * half has one component too many, its last, which is zero.
 */
export function sineCosinePositions(width: number, side: number): Float32Array {
  const half = width / 2;
  const frequencies = Math.floor(half / 2);
  const out = new Float32Array((1 + side * side) * width);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const at = (1 + row * side + column) * width;
      for (let i = 0; i < frequencies; i++) {
        const frequency = 10000 ** (-i / frequencies);
        for (const [part, position] of [column, row].entries()) {
          out[at + part * half + i] = Math.sin(position * frequency);
          out[at + part * half + frequencies + i] = Math.cos(position * frequency);
        }
      }
    }
  }
  return out;
}

/**
 * The recipe's initial weights by published key, in published shapes: matrices of the encoder Xavier uniform and their biases
 * zero; norms one and zero; the patch embedding Xavier uniform over [D, C·P·P], with PyTorch's default bias; CLS normal with
 * deviation 0.02; positions sine-cosine; bottleneck and convolution as PyTorch initialises them (Kaiming uniform with a = √5,
 * which is U(±1/√fan_in), the bias the same). Pure functions of the key and the seed.
 * @throws StylizingError `ARGUMENT` where the seed is no whole number.
 */
export function initialWeights(config: ModelConfig, seed: number): Map<string, Float32Array> {
  const { patchInputs } = dimensions(config);
  const shapes = parameterShapes(config);
  const weights = new Map<string, Float32Array>();
  for (const [key, shape] of shapes) {
    const count = shape.reduce((a, b) => a * b, 1);
    const within = (bound: number) => hashedWithin(key, count, seed, bound);
    const fanIn = (weight: string) =>
      shapes
        .get(weight)!
        .slice(1)
        .reduce((a, b) => a * b, 1);
    const defaultBound = 1 / Math.sqrt(fanIn(key.endsWith(".bias") ? key.replace(/bias$/, "weight") : key));
    if (key === "encoder.cls_token") weights.set(key, hashedNormal(key, count, seed, 0.02));
    else if (key === "encoder.pos_embed")
      weights.set(key, sineCosinePositions(config.embed_dim, config.image_size / config.patch_size));
    else if (/\.norm(_input|_context)?\.weight$/.test(key)) weights.set(key, new Float32Array(count).fill(1));
    else if (key === "encoder.patch_embed.proj.weight") weights.set(key, within(xavier(patchInputs, shape[0]!)));
    else if (/^encoder\.blocks\..*(proj|fc[12])\.weight$/.test(key)) weights.set(key, within(xavier(shape[1]!, shape[0]!)));
    else if (/^encoder\.(blocks|norm)\..*bias$/.test(key)) weights.set(key, new Float32Array(count));
    else weights.set(key, within(defaultBound));
  }
  return weights;
}

const xavier = (inputs: number, outputs: number): number => Math.sqrt(6 / (inputs + outputs));
