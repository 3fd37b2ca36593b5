import { readFileSync } from "node:fs";
import { join } from "node:path";
import { float16BitsToFloat32, float32ToFloat16Bits } from "../../src/hub/float16.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { parseVitConfig, type VitConfig } from "../../src/models/vit/config.js";
import { geluOracle as gelu } from "../ops/gelu.case.js";
import { goldenFolder } from "./fixtures.js";

/** A golden case of the ViT classifier. */
export interface VitGolden {
  folder: string;
  config: VitConfig;
  batch: number;
  /** A model as `load` takes it. */
  model: string;
  /** F32 tensors of the file; labels and masks are left out. */
  tensors: ReadonlyMap<string, Float32Array>;
  /** Of `pixels`, [batch, channels, height, width]. */
  height: number;
  width: number;
}

/** All F32 tensors of a file by name. */
export async function readTensors(path: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Float32Array>();
  for (const [key, { dtype }] of file.tensors) if (dtype === "F32") tensors.set(key, await file.read(key));
  return tensors;
}

/** @param file without its ending: `case`, or `wide` for another grid */
export async function loadVitGolden(name: string, file = "case"): Promise<VitGolden> {
  const folder = goldenFolder(name);
  if (!folder) throw new Error(`no golden case ${name}`);
  const info = JSON.parse(readFileSync(join(folder, "case.json"), "utf8"));
  const path = join(folder, `${file}.safetensors`);
  await using shapes = await SafetensorsFile.open(path);
  const [batch = 0, , height = 0, width = 0] = shapes.tensors.get("pixels")!.shape;
  return {
    folder,
    config: parseVitConfig(info.config, name),
    batch,
    model: info.weights === "hashed" ? `hashed:${info.seed}` : join(folder, info.weights),
    tensors: await readTensors(path),
    height,
    width,
  };
}

type Rows = Float64Array[];

/** Numbers as 16 bits hold them. */
const toFloat16 = (row: ArrayLike<number>): Float64Array =>
  Float64Array.from(float16BitsToFloat32(float32ToFloat16Bits(Float32Array.from(row))));

const add = (a: Rows, b: Rows): Rows => a.map((row, n) => row.map((value, i) => value + b[n]![i]!));

/** What is easily got wrong, for tests that show that it would be seen. */
export interface Traps {
  /** Of the norms, instead of 1e-6. */
  eps?: number;
  activation?: (x: number) => number;
  /** What scores are divided by, instead of √(width / heads). */
  divisor?: number;
  /** Where part 0, 1 or 2 (queries, keys, values) of a channel lies in a row of the packed matrix, instead of part · width + channel. */
  packed?: (part: number, channel: number) => number;
}

/**
 * The ViT classifier in float64 on the grid that it was trained for, written to be read and to share nothing with the kernels.
 * `float16` makes it the naive 16-bit run that 16-bit tiers are measured by: every operand of every GEMM is rounded to float16
 * just before it is multiplied, and nothing else is.
 */
export class VitOracle {
  readonly #c: VitConfig;
  readonly #w: ReadonlyMap<string, Float32Array>;
  readonly #operand: (row: ArrayLike<number>) => Float64Array;
  readonly #matrices = new Map<string, Float64Array>();
  readonly #traps: Required<Traps>;

  constructor(
    config: VitConfig,
    weights: ReadonlyMap<string, Float32Array>,
    { float16 = false, ...traps }: Traps & { float16?: boolean } = {},
  ) {
    this.#c = config;
    this.#w = weights;
    const divisor = Math.sqrt(config.embed_dim / config.num_heads);
    const packed = (part: number, channel: number) => part * config.embed_dim + channel;
    this.#traps = { eps: 1e-6, activation: gelu, divisor, packed, ...traps };
    this.#operand = float16 ? toFloat16 : (row) => Float64Array.from(row);
  }

  #linear(rows: Rows, name: string): Rows {
    const weight = this.#matrices.get(name) ?? this.#operand(this.#w.get(`${name}.weight`)!);
    this.#matrices.set(name, weight);
    const bias = this.#w.get(`${name}.bias`);
    const inputs = rows[0]!.length;
    return rows.map(this.#operand).map((row) =>
      Float64Array.from({ length: weight.length / inputs }, (_, o) => {
        let sum = bias?.[o] ?? 0;
        for (let i = 0; i < inputs; i++) sum += row[i]! * weight[o * inputs + i]!;
        return sum;
      }),
    );
  }

  #norm(rows: Rows, name: string): Rows {
    const [gamma, beta] = [this.#w.get(`${name}.weight`)!, this.#w.get(`${name}.bias`)!];
    return rows.map((row) => {
      const mean = row.reduce((a, b) => a + b, 0) / row.length;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + this.#traps.eps)) * gamma[i]! + beta[i]!);
    });
  }

  /** @returns what attention gives, and CLS's row of the softmax by head, before it is rounded */
  #attend(x: Rows, name: string): { mixed: Rows; cls: Float64Array[] } {
    const { embed_dim: width, num_heads: heads } = this.#c;
    const d = width / heads;
    const packed = this.#linear(x, `${name}.qkv`);
    const part = (which: number) =>
      packed.map((row) => this.#operand(Float64Array.from({ length: width }, (_, i) => row[this.#traps.packed(which, i)]!)));
    const [q, k, v] = [part(0), part(1), part(2)];
    const cls: Float64Array[] = [];
    const mixed = q.map((query, token) => {
      const out = new Float64Array(width);
      for (let head = 0; head < heads; head++) {
        const scores = k.map((key) => {
          let sum = 0;
          for (let i = head * d; i < (head + 1) * d; i++) sum += query[i]! * key[i]!;
          return sum / this.#traps.divisor;
        });
        const top = Math.max(...scores);
        const powers = Float64Array.from(scores, (score) => Math.exp(score - top));
        const total = powers.reduce((a, b) => a + b, 0);
        const shares = powers.map((power) => power / total);
        if (token === 0) cls.push(shares);
        for (const [j, share] of this.#operand(shares).entries())
          for (let i = head * d; i < (head + 1) * d; i++) out[i]! += share * v[j]![i]!;
      }
      return out;
    });
    return { mixed, cls };
  }

  #embed(image: Float32Array): Rows {
    const { image_size: size, patch_size: p, in_channels: channels } = this.#c;
    const side = size / p;
    const patches = Array.from({ length: side * side }, (_, n) => {
      const [top, left] = [Math.floor(n / side) * p, (n % side) * p];
      const row: number[] = [];
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < p; y++) for (let x = 0; x < p; x++) row.push(image[(c * size + top + y) * size + left + x]!);
      return Float64Array.from(row);
    });
    const rows = [Float64Array.from(this.#w.get("cls_token")!), ...this.#linear(patches, "patch_embed.proj")];
    const position = this.#w.get("pos_embed")!;
    return rows.map((row, t) => row.map((value, i) => value + position[t * row.length + i]!));
  }

  /** @param image [C, S, S] normalised */
  forward(image: Float32Array): { logits: number[]; tokens: number[]; attention: number[] } {
    let x = this.#embed(image);
    let attention: number[] = [];
    for (let layer = 0; layer < this.#c.depth; layer++) {
      const name = `blocks.${layer}`;
      const { mixed, cls } = this.#attend(this.#norm(x, `${name}.norm1`), `${name}.attn`);
      attention = cls.flatMap((row) => Array.from(row.subarray(1)));
      x = add(x, this.#linear(mixed, `${name}.attn.proj`));
      const hidden = this.#linear(this.#norm(x, `${name}.norm2`), `${name}.mlp.fc1`).map((row) =>
        row.map(this.#traps.activation),
      );
      x = add(x, this.#linear(hidden, `${name}.mlp.fc2`));
    }
    const tokens = this.#norm(x, "norm");
    const logits = this.#w.has("head.weight") ? Array.from(this.#linear([tokens[0]!], "head")[0]!) : [];
    return { logits, tokens: tokens.flatMap((row) => Array.from(row)), attention };
  }
}
