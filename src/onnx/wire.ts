/**
 * The little of protocol buffers' wire format that an ONNX file needs: fields are a tag (number and kind) and a value, a
 * message in a message is its length and its fields. Encoding by hand and not by a library, because the one message here
 * that is large must be written without ever being held: only its length has to be known.
 * https://protobuf.dev/programming-guides/encoding
 */

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** Seven bits a byte, the lowest first; a negative number as its 64-bit two's complement. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return bytes;
}

const tag = (field: number, kind: number) => varint(field * 8 + kind);

export const int = (field: number, value: number): Uint8Array => Uint8Array.from([...tag(field, VARINT), ...varint(value)]);

export function float(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return Buffer.concat([Uint8Array.from(tag(field, FIXED32)), bytes]);
}

/** What stands before `length` bytes of a message, a text or raw bytes. */
export const header = (field: number, length: number): Uint8Array =>
  Uint8Array.from([...tag(field, LENGTH_DELIMITED), ...varint(length)]);

export function message(field: number, ...fields: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(fields);
  return Buffer.concat([header(field, body.length), body]);
}

export const text = (field: number, value: string): Uint8Array => message(field, Buffer.from(value, "utf8"));
