/** A reader of ONNX files for tests: protocol buffers of any kind, by field number, and what of onnx.proto is looked at. */

type Value = bigint | Buffer;
type Message = Map<number, Value[]>;

function parse(bytes: Buffer): Message {
  const fields: Message = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error(`cut off at byte ${at}`);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
  };
  const take = (length: number) => {
    if (at + length > bytes.length) throw new Error(`${length} bytes at ${at} of ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const [field, kind] = [tag >> 3, tag & 7];
    let value: Value;
    if (kind === 0) value = varint();
    else if (kind === 2) value = take(Number(varint()));
    else if (kind === 5) value = take(4);
    else throw new Error(`kind ${kind} at byte ${at}`);
    const known = fields.get(field);
    if (known) known.push(value);
    else fields.set(field, [value]);
  }
  return fields;
}

const bytes = (message: Message, field: number) => (message.get(field) ?? []) as Buffer[];
const texts = (message: Message, field: number) => bytes(message, field).map((value) => value.toString("utf8"));
const numbers = (message: Message, field: number) => ((message.get(field) ?? []) as bigint[]).map(Number);
const messages = (message: Message, field: number) => bytes(message, field).map(parse);

export interface OnnxNode {
  op: string;
  name: string;
  inputs: string[];
  outputs: string[];
  attributes: Record<string, number | number[]>;
}

export interface OnnxTensor {
  shape: number[];
  type: number;
  raw: Buffer;
}

export interface OnnxPort {
  name: string;
  type: number;
  shape: (number | string)[];
}

export interface OnnxModel {
  irVersion: number;
  opset: { domain: string; version: number };
  producer: [string, string];
  doc: string;
  properties: Record<string, string>;
  nodes: OnnxNode[];
  tensors: Map<string, OnnxTensor>;
  inputs: OnnxPort[];
  outputs: OnnxPort[];
}

function attribute(message: Message): [string, number | number[]] {
  const [FLOAT, INT, INTS] = [1, 2, 7];
  const [kind] = numbers(message, 20);
  const value =
    kind === FLOAT
      ? bytes(message, 2)[0]!.readFloatLE()
      : kind === INT
        ? numbers(message, 3)[0]!
        : kind === INTS
          ? numbers(message, 8)
          : Number.NaN;
  return [texts(message, 1)[0]!, value];
}

function port(message: Message): OnnxPort {
  const tensor = messages(messages(message, 2)[0]!, 1)[0]!;
  const sizes = messages(messages(tensor, 2)[0]!, 1);
  return {
    name: texts(message, 1)[0]!,
    type: numbers(tensor, 1)[0]!,
    shape: sizes.map((size) => numbers(size, 1)[0] ?? texts(size, 2)[0]!),
  };
}

export function readOnnx(file: Buffer): OnnxModel {
  const model = parse(file);
  const graph = messages(model, 7)[0]!;
  const opset = messages(model, 8)[0]!;
  return {
    irVersion: numbers(model, 1)[0]!,
    opset: { domain: texts(opset, 1)[0] ?? "", version: numbers(opset, 2)[0]! },
    producer: [texts(model, 2)[0]!, texts(model, 3)[0]!],
    doc: texts(model, 6)[0]!,
    properties: Object.fromEntries(messages(model, 14).map((entry) => [texts(entry, 1)[0]!, texts(entry, 2)[0]!])),
    nodes: messages(graph, 1).map((node) => ({
      op: texts(node, 4)[0]!,
      name: texts(node, 3)[0]!,
      inputs: texts(node, 1),
      outputs: texts(node, 2),
      attributes: Object.fromEntries(messages(node, 5).map(attribute)),
    })),
    tensors: new Map(
      messages(graph, 5).map((tensor) => [
        texts(tensor, 8)[0]!,
        { shape: numbers(tensor, 1), type: numbers(tensor, 2)[0]!, raw: bytes(tensor, 9)[0]! },
      ]),
    ),
    inputs: messages(graph, 11).map(port),
    outputs: messages(graph, 12).map(port),
  };
}
