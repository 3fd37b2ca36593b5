import { StylizingError } from "../errors.js";
import { float32ToFloat16Bits } from "../hub/float16.js";
import type { WeightSource } from "../hub/weight-source.js";
import { writeFileAtomic } from "../image/atomic-write.js";
import { findModel, type OpenOptions } from "../models/open.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";
import { checkShapes } from "../models/stylizing-vit/parameters.js";
import { VERSION } from "../version.js";
import {
  type Attribute,
  DATA_TYPES,
  type ElementType,
  type Graph,
  type Initializer,
  IR_VERSION,
  type Node,
  OPSET,
  type Port,
  stylizingGraph,
} from "./graph.js";
import { float, header, int, message, text } from "./wire.js";

export interface ExportProgress {
  phase: "download" | "verify" | "write";
  /** Bytes. */
  loaded: number;
  total: number;
}

export interface ExportOptions extends Omit<OpenOptions, "onProgress"> {
  /** Parameters and arithmetic in 16-bit floats: half the file, and faster where the runtime's device has them. */
  half?: boolean;
  onProgress?: (progress: ExportProgress) => void;
}

/** What was written. Sizes that are words may be any. */
export interface ExportReport {
  model: string;
  file: string;
  bytes: number;
  opset: number;
  precision: "f32" | "f16";
  inputs: readonly Port[];
  outputs: readonly Port[];
}

/** A protocol buffer's length must fit 31 bits. */
const LARGEST = 2 ** 31 - 1;

// Field numbers are those of onnx/onnx.proto, messages in the order in which they contain one another.

const BYTES: Readonly<Record<ElementType, number>> = { F32: 4, F16: 2, I64: 8 };

function attributeProto(name: string, value: Attribute): Uint8Array {
  const [FLOAT, INT, INTS] = [1, 2, 7];
  if (typeof value === "number") return message(5, text(1, name), int(3, value), int(20, INT));
  if ("float" in value) return message(5, text(1, name), float(2, value.float), int(20, FLOAT));
  return message(5, text(1, name), ...value.map((each) => int(8, each)), int(20, INTS));
}

const nodeProto = ({ op, name, inputs, attributes }: Node): Uint8Array =>
  message(
    1,
    ...inputs.map((input) => text(1, input)),
    text(2, name),
    text(3, name),
    text(4, op),
    ...Object.entries(attributes).map(([key, value]) => attributeProto(key, value)),
  );

/** A tensor up to where its values begin, and how many bytes they take. */
function tensorHead({ name, shape, type }: Initializer): { head: Uint8Array; bytes: number } {
  const bytes = BYTES[type] * shape.reduce((a, b) => a * b, 1);
  const fields = Buffer.concat([...shape.map((size) => int(1, size)), int(2, DATA_TYPES[type]), text(8, name), header(9, bytes)]);
  return { head: Buffer.concat([header(5, fields.length + bytes), fields]), bytes };
}

function portProto(field: number, { name, shape }: Port): Uint8Array {
  const sizes = shape.map((size) => message(1, typeof size === "number" ? int(1, size) : text(2, size)));
  return message(field, text(1, name), message(2, message(1, int(1, DATA_TYPES.F32), message(2, ...sizes))));
}

function modelHead(graphBytes: number, label: string, config: ModelConfig): Uint8Array {
  const { mean, std } = config;
  const properties: Record<string, string> = {
    model: label,
    config: JSON.stringify(config),
    ...(mean ? { mean: JSON.stringify(mean) } : {}),
    ...(std ? { std: JSON.stringify(std) } : {}),
  };
  const { image_size: size, in_channels: channels } = config;
  const units = mean && std ? `mean ${mean.join(", ")} and standard deviation ${std.join(", ")}` : "the model's mean and std";
  return Buffer.concat([
    int(1, IR_VERSION),
    text(2, "stylizing-vit"),
    text(3, VERSION),
    text(
      6,
      `Stylizing ViT (arXiv 2601.17586): repaints content in the appearance of style, [batch, ${channels}, ${size}, ${size}]. ` +
        `In and out: (x - mean) / std of pixels x in [0, 1], with ${units}; clamp to [0, 1] after undoing it.`,
    ),
    message(8, text(1, ""), int(2, OPSET)),
    ...Object.entries(properties).map(([key, value]) => message(14, text(1, key), text(2, value))),
    header(7, graphBytes),
  ]);
}

async function readInitializer({ name, shape, type, values }: Initializer, source: WeightSource): Promise<Uint8Array> {
  if (type === "I64") return new Uint8Array(BigInt64Array.from(values!, BigInt).buffer);
  const floats = values ? Float32Array.from(values) : await source.read(name);
  const stored = type === "F16" ? float32ToFloat16Bits(floats) : floats;
  if (stored.byteLength !== BYTES[type] * shape.reduce((a, b) => a * b, 1)) {
    throw new StylizingError(
      "CHECKPOINT",
      `${source.label}: ${name} has ${floats.length} values for the shape [${shape.join(", ")}].`,
      "The file is damaged: fetch it again.",
    );
  }
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}

/** A model's file, laid out: everything is known of it but the parameters' values. */
function layOut(graph: Graph, label: string, config: ModelConfig) {
  const { nodes, initializers, inputs, outputs } = graph;
  const beginning = Buffer.concat([
    ...nodes.map(nodeProto),
    text(2, "stylizing_vit"),
    ...inputs.map((port) => portProto(11, port)),
    ...outputs.map((port) => portProto(12, port)),
  ]);
  const tensors = initializers.map((initializer) => ({ initializer, ...tensorHead(initializer) }));
  const graphBytes = tensors.reduce((sum, { head, bytes }) => sum + head.length + bytes, beginning.length);
  const head = modelHead(graphBytes, label, config);
  return { start: Buffer.concat([head, beginning]), tensors, bytes: head.length + graphBytes };
}

/**
 * Writes a model as one ONNX file (opset 17), for runtimes that know nothing of this library: inputs `content` and `style`,
 * output `stylized`, all [batch, C, S, S], F32, normalised, for any batch. Needs no GPU. Parameters pass through memory one
 * by one; the file appears whole or not at all.
 * @param model as `StylizingViT.load` takes it.
 * @throws StylizingError `ARGUMENT`, `CONFIG`, `CHECKPOINT` or `DOWNLOAD` as `load` does; `OUTPUT` when the file cannot be
 *   written or would exceed the 2 GiB of a protocol buffer; the signal's reason when aborted.
 */
export async function exportOnnx(model: string, file: string, options: ExportOptions = {}): Promise<ExportReport> {
  const { half = false, signal, onProgress } = options;
  signal?.throwIfAborted();
  const { label, config, open } = await findModel(model, options);
  const graph = stylizingGraph(config, half);
  const { start, tensors, bytes } = layOut(graph, label, config);
  if (bytes > LARGEST) {
    throw new StylizingError(
      "OUTPUT",
      `${label} takes ${bytes} bytes as ONNX, and one file holds at most ${LARGEST}.`,
      half ? "Use a smaller model." : "Write it with 16-bit floats (half), or use a smaller model.",
    );
  }
  await using source = await open();
  checkShapes(config, source.shapes, source.label);
  async function* pieces() {
    yield start;
    let loaded = start.length;
    for (const { initializer, head, bytes: size } of tensors) {
      signal?.throwIfAborted();
      yield head;
      yield await readInitializer(initializer, source);
      loaded += head.length + size;
      onProgress?.({ phase: "write", loaded, total: bytes });
    }
  }
  try {
    await writeFileAtomic(file, pieces());
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
  return {
    model: label,
    file,
    bytes,
    opset: OPSET,
    precision: half ? "f16" : "f32",
    inputs: graph.inputs,
    outputs: graph.outputs,
  };
}
