import { dimensions, type ModelConfig } from "../models/stylizing-vit/config.js";
import { parameterShapes } from "../models/stylizing-vit/parameters.js";

/** Of a tensor's elements. */
export type ElementType = "F32" | "F16" | "I64";

export type Attribute = number | readonly number[] | { float: number };

/** One operation. Its only output has the node's own name. */
export interface Node {
  readonly op: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A tensor that the file holds: a parameter under its published key, or a constant with its values. */
export interface Initializer {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: ElementType;
  readonly values?: readonly number[];
}

/** A tensor that goes in or comes out; a size that is a word may be any. */
export interface Port {
  readonly name: string;
  readonly shape: readonly (number | string)[];
}

/** A program of ONNX operations, each after those whose results it takes. */
export interface Graph {
  readonly nodes: readonly Node[];
  readonly initializers: readonly Initializer[];
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** The operator set. 17 is the first with LayerNormalization and is what most runtimes of today know; `Gelu` came with 20. */
export const OPSET = 17;
/** The file format's version that goes with it. */
export const IR_VERSION = 8;

class GraphBuilder {
  readonly nodes: Node[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #parameters: ReadonlyMap<string, readonly number[]>;
  readonly #type: ElementType;

  constructor(parameters: ReadonlyMap<string, readonly number[]>, type: ElementType) {
    this.#parameters = parameters;
    this.#type = type;
  }

  get initializers(): Initializer[] {
    return [...this.#initializers.values()];
  }

  /** Appends an operation and returns the name of its result. */
  node(name: string, op: string, inputs: readonly string[], attributes: Node["attributes"] = {}): string {
    this.nodes.push({ op, name, inputs, attributes });
    return name;
  }

  parameter(key: string): string {
    return this.#initializer({ name: key, shape: this.#parameters.get(key)!, type: this.#type });
  }

  /** A list of whole numbers: a shape, or where to cut. */
  list(...values: readonly number[]): string {
    return this.#initializer({ name: `[${values}]`, shape: [values.length], type: "I64", values });
  }

  number(name: string, value: number): string {
    return this.#initializer({ name, shape: [], type: this.#type, values: [value] });
  }

  #initializer(one: Initializer): string {
    this.#initializers.set(one.name, one);
    return one.name;
  }
}

/**
 * The forward pass that ends in `stylized`, as published, with two things left out that change nothing: the passes of the
 * last layer that only training looks at (4L − 3 of 4L remain), and keys and values of one context computed twice.
 *
 * Parameters keep their keys and their layout, [out, in]. Tokens are rows: [B·T, D] between GEMMs, [B, T, h, d] around
 * attention; the batch B appears nowhere but as what is left over in a reshape, so that any will do.
 * @param half parameters and arithmetic in F16; inputs and output are F32 all the same
 */
export function stylizingGraph(config: ModelConfig, half = false): Graph {
  const { image_size: size, in_channels: channels, patch_size: patch, embed_dim: width, num_heads: heads, depth } = config;
  const { tokens, headDim, rank } = dimensions(config);
  const side = size / patch;
  const g = new GraphBuilder(parameterShapes(config), half ? "F16" : "F32");

  const reshape = (name: string, x: string, ...shape: number[]) => g.node(name, "Reshape", [x, g.list(...shape)]);
  const transpose = (name: string, x: string, ...perm: number[]) => g.node(name, "Transpose", [x], { perm });
  const linear = (name: string, x: string, key: string, bias = true) => {
    const parameters = [`${key}.weight`, ...(bias ? [`${key}.bias`] : [])].map((each) => g.parameter(each));
    return g.node(name, "Gemm", [x, ...parameters], { transB: 1 });
  };
  const norm = (name: string, x: string, key: string) =>
    g.node(name, "LayerNormalization", [x, g.parameter(`${key}.weight`), g.parameter(`${key}.bias`)], {
      axis: -1,
      epsilon: { float: 1e-6 },
    });
  /** x · ½ · (1 + erf(x / √2)), exactly GELU and spelt as runtimes that have it as one operation look for it. */
  const gelu = (name: string, x: string) => {
    const scaled = g.node(`${name}/scaled`, "Div", [x, g.number("sqrt(2)", Math.SQRT2)]);
    const erf = g.node(`${name}/erf`, "Erf", [scaled]);
    const gate = g.node(`${name}/gate`, "Add", [erf, g.number("1", 1)]);
    const product = g.node(`${name}/product`, "Mul", [x, gate]);
    return g.node(name, "Mul", [product, g.number("0.5", 0.5)]);
  };
  const mlp = (name: string, x: string, key: string) =>
    linear(`${name}/fc2`, gelu(`${name}/gelu`, linear(`${name}/fc1`, x, `${key}.fc1`)), `${key}.fc2`);

  const embed = (name: "content" | "style") => {
    const image = half ? g.node(`${name}/half`, "Cast", [name], { to: FLOAT16 }) : name;
    const projection = "encoder.patch_embed.proj";
    const patches = g.node(
      `${name}/patches`,
      "Conv",
      [image, g.parameter(`${projection}.weight`), g.parameter(`${projection}.bias`)],
      { kernel_shape: [patch, patch], strides: [patch, patch] },
    );
    const rows = transpose(`${name}/rows`, reshape(`${name}/columns`, patches, -1, width, tokens - 1), 0, 2, 1);
    const batch = g.node(`${name}/batch`, "Shape", [name], { start: 0, end: 1 });
    const shape = g.node(`${name}/cls_shape`, "Concat", [batch, g.list(1, width)], { axis: 0 });
    const cls = g.node(`${name}/cls`, "Expand", [g.parameter("encoder.cls_token"), shape]);
    const all = g.node(`${name}/tokens`, "Concat", [cls, rows], { axis: 1 });
    return reshape(`${name}/embedded`, g.node(`${name}/placed`, "Add", [all, g.parameter("encoder.pos_embed")]), -1, width);
  };

  const block = (layer: number) => `encoder.blocks.${layer}`;
  /** [B·T, D] to [B, h, T, d], or with `perm` to another order of these axes. */
  const split = (name: string, x: string, ...perm: number[]) =>
    transpose(`${name}/by_head`, reshape(`${name}/split`, x, -1, tokens, heads, headDim), ...perm);
  /** What a stream gives to those that look at it. */
  const context = (layer: number, name: string, y: string) => {
    const key = block(layer);
    const normed = norm(`${name}/norm_context`, y, `${key}.norm_context`);
    const project = (what: string, projection: string) =>
      linear(`${name}/${what}`, normed, `${key}.attn.${projection}`, config.qkv_bias);
    return {
      keys: split(`${name}/keys`, project("keys", "k_proj"), 0, 2, 3, 1),
      values: split(`${name}/values`, project("values", "v_proj"), 0, 2, 1, 3),
    };
  };
  const pass = (layer: number, name: string, x: string, { keys, values }: { keys: string; values: string }) => {
    const key = block(layer);
    const normed = norm(`${name}/norm_query`, x, `${key}.norm_input`);
    const query = linear(`${name}/query`, normed, `${key}.attn.q_proj`, config.qkv_bias);
    const scaled = g.node(`${name}/query/scaled`, "Mul", [query, g.number("1/sqrt(head)", headDim ** -0.5)]);
    const scores = g.node(`${name}/scores`, "MatMul", [split(`${name}/query`, scaled, 0, 2, 1, 3), keys]);
    const weights = g.node(`${name}/weights`, "Softmax", [scores], { axis: -1 });
    const attended = transpose(`${name}/attended`, g.node(`${name}/mixed`, "MatMul", [weights, values]), 0, 2, 1, 3);
    const projected = linear(`${name}/out`, reshape(`${name}/heads`, attended, -1, width), `${key}.attn.out_proj`);
    const between = g.node(`${name}/attention`, "Add", [x, projected]);
    const hidden = mlp(`${name}/mlp`, norm(`${name}/norm_mlp`, between, `${key}.norm_input`), `${key}.mlp`);
    return g.node(name, "Add", [between, hidden]);
  };

  let anatomy = embed("content");
  let style = embed("style");
  let query = anatomy;
  let stylized = query;
  for (let layer = 0; layer < depth; layer++) {
    const at = `layer${layer}`;
    const styles = context(layer, `${at}/style_context`, style);
    stylized = pass(layer, `${at}/stylized`, query, styles);
    if (layer === depth - 1) break;
    anatomy = pass(layer, `${at}/anatomy`, anatomy, context(layer, `${at}/anatomy_context`, anatomy));
    style = pass(layer, `${at}/style`, style, styles);
    query = pass(layer, `${at}/query`, anatomy, context(layer, `${at}/stylized_context`, stylized));
  }

  const decoded = mlp("bottleneck", norm("encoded_stylized", stylized, "encoder.norm"), "bottleneck");
  const sequences = reshape("bottleneck/sequences", decoded, -1, tokens, width);
  const cut = (name: string, x: string, axis: number, from: number, to: number) =>
    g.node(name, "Slice", [x, g.list(from), g.list(to), g.list(axis)]);
  const patches = cut("patches", sequences, 1, 1, tokens);
  const left = reshape("left", cut("left/half", patches, 2, 0, width / 2), -1, patch, rank);
  const right = reshape("right", cut("right/half", patches, 2, width / 2, width), -1, rank, patch);
  const product = g.node("patch_product", "MatMul", [left, right]);
  // The layout trap: [C, P, P] in memory is read back as [P, P, C].
  const pixels = transpose("unpatchified", reshape("pixels", product, -1, side, side, patch, patch, channels), 0, 5, 1, 3, 2, 4);
  const kernel = config.post_process_conv_kernel_size;
  const convolved = g.node(
    half ? "stylized/half" : "stylized",
    "Conv",
    [reshape("image", pixels, -1, channels, size, size), g.parameter("post_process_conv.weight")],
    { kernel_shape: [kernel, kernel], pads: Array.from({ length: 4 }, () => (kernel - 1) / 2) },
  );
  if (half) g.node("stylized", "Cast", [convolved], { to: FLOAT });

  const image = ["batch", channels, size, size];
  return {
    nodes: g.nodes,
    initializers: g.initializers,
    inputs: [
      { name: "content", shape: image },
      { name: "style", shape: image },
    ],
    outputs: [{ name: "stylized", shape: image }],
  };
}

/** `TensorProto.DataType`. */
const FLOAT = 1;
const FLOAT16 = 10;
export const DATA_TYPES: Readonly<Record<ElementType, number>> = { F32: FLOAT, F16: FLOAT16, I64: 7 };
