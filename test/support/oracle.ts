import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/float16.js";
import { dimensions, type ModelConfig } from "../../src/models/stylizing-vit/config.js";
import { geluOracle as gelu } from "../ops/gelu.case.js";

/**
 * The whole model in float64, written to be read and to share nothing with the kernels: norms with scale and shift where
 * they stand, four separate projections, one pass after another, the layout trap as the paper's code has it.
 * `float16` makes it the naive 16-bit run that 16-bit tiers are measured by: every operand of every GEMM is rounded to
 * float16 just before it is multiplied, and nothing else is.
 */

type Weights = ReadonlyMap<string, Float32Array>;

/** Rows [n, d] of one image. */
type Rows = Float64Array[];

/** Numbers as 16 bits hold them. */
const toFloat16 = (row: ArrayLike<number>): Float64Array =>
  Float64Array.from(float16BitsToFloat32(float32ToFloat16Bits(Float32Array.from(row))));

export class Oracle {
  readonly #c: ModelConfig;
  readonly #w: Weights;
  readonly #operand: (row: ArrayLike<number>) => Float64Array;
  readonly #matrices = new Map<string, Float64Array>();

  constructor(config: ModelConfig, weights: Weights, { float16 = false } = {}) {
    this.#c = config;
    this.#w = weights;
    this.#operand = float16 ? toFloat16 : (row) => Float64Array.from(row);
  }

  #get(key: string): Float32Array {
    const values = this.#w.get(key);
    if (!values) throw new Error(`no ${key}`);
    return values;
  }

  #linear(rows: Rows, name: string): Rows {
    const weight = this.#matrices.get(name) ?? this.#operand(this.#get(`${name}.weight`));
    this.#matrices.set(name, weight);
    const bias = this.#w.get(`${name}.bias`);
    const inputs = rows[0]!.length;
    const outputs = weight.length / inputs;
    return rows.map(this.#operand).map((row) => {
      const out = new Float64Array(outputs);
      for (let o = 0; o < outputs; o++) {
        let sum = bias ? bias[o]! : 0;
        for (let i = 0; i < inputs; i++) sum += row[i]! * weight[o * inputs + i]!;
        out[o] = sum;
      }
      return out;
    });
  }

  #norm(rows: Rows, name: string): Rows {
    const [gamma, beta] = [this.#get(`${name}.weight`), this.#get(`${name}.bias`)];
    return rows.map((row) => {
      const mean = row.reduce((a, b) => a + b, 0) / row.length;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * gamma[i]! + beta[i]!);
    });
  }

  #block(x: Rows, y: Rows, layer: number): Rows {
    const name = `encoder.blocks.${layer}`;
    const d = this.#c.embed_dim / this.#c.num_heads;
    const q = this.#linear(this.#norm(x, `${name}.norm_input`), `${name}.attn.q_proj`).map(this.#operand);
    const context = this.#norm(y, `${name}.norm_context`);
    const k = this.#linear(context, `${name}.attn.k_proj`).map(this.#operand);
    const v = this.#linear(context, `${name}.attn.v_proj`).map(this.#operand);
    const mixed = q.map((query) => {
      const out = new Float64Array(this.#c.embed_dim);
      for (let head = 0; head < this.#c.num_heads; head++) {
        const logits = k.map((key) => {
          let sum = 0;
          for (let i = head * d; i < (head + 1) * d; i++) sum += query[i]! * key[i]!;
          return sum / Math.sqrt(d);
        });
        const top = Math.max(...logits);
        const weights = logits.map((logit) => Math.exp(logit - top));
        const total = weights.reduce((a, b) => a + b, 0);
        for (const [j, weight] of this.#operand(weights.map((weight) => weight / total)).entries())
          for (let i = head * d; i < (head + 1) * d; i++) out[i]! += weight * v[j]![i]!;
      }
      return out;
    });
    const attended = add(x, this.#linear(mixed, `${name}.attn.out_proj`));
    const hidden = this.#linear(this.#norm(attended, `${name}.norm_input`), `${name}.mlp.fc1`).map((row) => row.map(gelu));
    return add(attended, this.#linear(hidden, `${name}.mlp.fc2`));
  }

  #embed(image: Float32Array): Rows {
    const { image_size: size, patch_size: p, in_channels: channels } = this.#c;
    const side = size / p;
    const patches: Rows = [];
    for (let n = 0; n < side * side; n++) {
      const row = new Float64Array(channels * p * p);
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < p; i++)
          for (let j = 0; j < p; j++)
            row[(c * p + i) * p + j] = image[(c * size + Math.floor(n / side) * p + i) * size + (n % side) * p + j]!;
      patches.push(row);
    }
    const cls = Float64Array.from(this.#get("encoder.cls_token"));
    const rows = [cls, ...this.#linear(patches, "encoder.patch_embed.proj")];
    const position = this.#get("encoder.pos_embed");
    return rows.map((row, t) => row.map((value, i) => value + position[t * row.length + i]!));
  }

  #decode(rows: Rows): Float64Array {
    const { image_size: size, patch_size: p, in_channels: channels, post_process_conv_kernel_size: k } = this.#c;
    const { rank } = dimensions(this.#c);
    const z = this.#linear(this.#linear(this.#norm(rows, "encoder.norm"), "bottleneck.fc1").map((row) => row.map(gelu)), "bottleneck.fc2"); // biome-ignore format: one chain
    const side = size / p;
    const image = new Float64Array(channels * size * size);
    for (let n = 0; n < side * side; n++) {
      const row = this.#operand(z[n + 1]!);
      const half = row.length / 2;
      const product: number[] = [];
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < p; i++)
          for (let j = 0; j < p; j++) {
            let sum = 0;
            for (let r = 0; r < rank; r++) sum += row[(c * p + i) * rank + r]! * row[half + (c * rank + r) * p + j]!;
            product.push(sum);
          }
      // Read back as [p, p, channels] without a transpose.
      for (let y = 0; y < p; y++)
        for (let x = 0; x < p; x++)
          for (let c = 0; c < channels; c++)
            image[(c * size + Math.floor(n / side) * p + y) * size + (n % side) * p + x] = product[(y * p + x) * channels + c]!;
    }
    const weight = this.#get("post_process_conv.weight");
    const reach = (k - 1) / 2;
    const out = new Float64Array(image.length);
    for (let o = 0; o < channels; o++)
      for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++) {
          let sum = 0;
          for (let c = 0; c < channels; c++)
            for (let i = 0; i < k; i++)
              for (let j = 0; j < k; j++) {
                const [sy, sx] = [y + i - reach, x + j - reach];
                if (sy < 0 || sy >= size || sx < 0 || sx >= size) continue;
                sum += weight[((o * channels + c) * k + i) * k + j]! * image[(c * size + sy) * size + sx]!;
              }
          out[(o * size + y) * size + x] = sum;
        }
    return out;
  }

  /** [C, S, S] normalised, twice in, once out. */
  stylize(content: Float32Array, style: Float32Array): Float64Array {
    let [a, y] = [this.#embed(content), this.#embed(style)];
    let [q, z] = [a, a];
    for (let layer = 0; layer < this.#c.depth; layer++) {
      z = this.#block(q, y, layer);
      a = this.#block(a, a, layer);
      y = this.#block(y, y, layer);
      q = this.#block(a, z, layer);
    }
    return this.#decode(z);
  }
}

function add(a: Rows, b: Rows): Rows {
  return a.map((row, n) => row.map((value, i) => value + b[n]![i]!));
}
