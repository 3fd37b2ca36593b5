import { StylizingError } from "../errors.js";
import type { ByteReader } from "./byte-reader.js";

/** What stands before the values of a numpy array (NEP 1, `numpy.lib.format`). */
export interface NpyHeader {
  /** The type of a value: `|u1` is a byte, `<i8` 64 bits with a sign, least byte first. */
  readonly descr: string;
  readonly shape: readonly number[];
  /** Bytes of a value. */
  readonly itemBytes: number;
  /** Bytes of an entry of the first axis, and of the header itself. */
  readonly rowBytes: number;
  readonly headerBytes: number;
}

const MAGIC = "\x93NUMPY";

/** Reads a header, of version 1 to 3. @param name of the array, for messages. @throws StylizingError `ARGUMENT` */
export async function readNpyHeader(reader: ByteReader, name: string): Promise<NpyHeader> {
  const bad = (problem: string, fix = "Write the file again with numpy.savez."): StylizingError =>
    new StylizingError("ARGUMENT", `The array ${name} ${problem}.`, fix);
  const head = await reader.take(8);
  if (head.length < 8 || head.toString("latin1", 0, 6) !== MAGIC) throw bad("is no numpy array");
  const version = head[6]!;
  if (version < 1 || version > 3) throw bad(`is of version ${version} of numpy's format, and 1 to 3 are read`);
  const wide = version > 1;
  const sizeBytes = await reader.take(wide ? 4 : 2);
  if (sizeBytes.length < (wide ? 4 : 2)) throw bad("is cut short in its header");
  const size = wide ? sizeBytes.readUInt32LE() : sizeBytes.readUInt16LE();
  // numpy itself refuses more.
  if (size > 10_000) throw bad(`has a header of ${size} bytes`);
  const bytes = await reader.take(size);
  if (bytes.length < size) throw bad("is cut short in its header");
  const text = bytes.toString(version === 3 ? "utf8" : "latin1");
  const descr = /'descr'\s*:\s*'([^']+)'/.exec(text)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const axes = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(text)?.[1];
  if (descr === undefined || order === undefined || axes === undefined) {
    throw bad("has a header that says no type, order and shape, or has records as values");
  }
  const shape = axes.split(",").flatMap((axis) => (axis.trim() === "" ? [] : [Number.parseInt(axis, 10)]));
  if (order === "True" && shape.length > 1) throw bad("is in Fortran order", "Save numpy.ascontiguousarray of it.");
  const [, kind, digits] = /^[|<>=]?([a-zA-Z])(\d+)$/.exec(descr) ?? [];
  const itemBytes = kind === undefined ? 0 : Number(digits) * (kind === "U" ? 4 : 1);
  if (itemBytes === 0 || kind === "O") throw bad(`has values of type ${descr}`, "Save it as numbers.");
  const rowBytes = shape.slice(1).reduce((product, axis) => product * axis, itemBytes);
  if (!Number.isSafeInteger(rowBytes * (shape[0] ?? 1))) throw bad(`has the shape ${axes}, which is too large`);
  return { descr, shape, itemBytes, rowBytes, headerBytes: reader.position };
}

/** A header of version 1, filled up with spaces to a multiple of 64 bytes as numpy does. */
export function npyHeader(descr: string, shape: readonly number[]): Buffer {
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  const size = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const prefix = Buffer.from(`${MAGIC}\x01\x00\x00\x00`, "latin1");
  prefix.writeUInt16LE(size, 8);
  return Buffer.concat([prefix, Buffer.from(`${text.padEnd(size - 1)}\n`, "latin1")]);
}

/** Values of whole numbers and floats, by numpy's names without the order of bytes. */
const READ: Record<string, (bytes: DataView, at: number, little: boolean) => number> = {
  b1: (bytes, at) => bytes.getUint8(at),
  u1: (bytes, at) => bytes.getUint8(at),
  i1: (bytes, at) => bytes.getInt8(at),
  u2: (bytes, at, little) => bytes.getUint16(at, little),
  i2: (bytes, at, little) => bytes.getInt16(at, little),
  u4: (bytes, at, little) => bytes.getUint32(at, little),
  i4: (bytes, at, little) => bytes.getInt32(at, little),
  u8: (bytes, at, little) => Number(bytes.getBigUint64(at, little)),
  i8: (bytes, at, little) => Number(bytes.getBigInt64(at, little)),
  f4: (bytes, at, little) => bytes.getFloat32(at, little),
  f8: (bytes, at, little) => bytes.getFloat64(at, little),
};

/** Whether values of this type can be read as numbers. */
export const isNumeric = ({ descr }: NpyHeader): boolean => descr.replace(/^[|<>=]/, "") in READ;

/** Values of a row as numbers; text where they are text. */
export function valuesOf({ descr, itemBytes }: NpyHeader, row: Uint8Array): number[] | string {
  const type = descr.replace(/^[|<>=]/, "");
  const little = !descr.startsWith(">");
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const read = READ[type];
  if (read) return Array.from({ length: row.length / itemBytes }, (_, i) => read(view, i * itemBytes, little));
  if (type.startsWith("S")) return Buffer.from(row).toString("latin1").replace(/\0+$/, "");
  const codes = Array.from({ length: row.length / 4 }, (_, i) => view.getUint32(i * 4, little)).filter((code) => code > 0);
  return codes.map((code) => String.fromCodePoint(Math.min(code, 0x10ffff))).join("");
}
