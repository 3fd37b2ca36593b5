import type { Stats } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { extname } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { bfloat16BitsToFloat32, float16BitsToFloat32 } from "./float16.js";

/** Where a tensor lies. `begin` and `end` are bytes from the start of the file's data section, as in its header. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Bits per element: newer dtypes have elements smaller than a byte. */
const DTYPE_BITS = new Map<string, number>(
  Object.entries({
    ...{
      F4: 4,
      F6_E2M3: 6,
      F6_E3M2: 6,
      BOOL: 8,
      U8: 8,
      I8: 8,
      F8_E5M2: 8,
      F8_E4M3: 8,
      F8_E8M0: 8,
      F8_E4M3FNUZ: 8,
      F8_E5M2FNUZ: 8,
    },
    ...{ U16: 16, I16: 16, F16: 16, BF16: 16, U32: 32, I32: 32, F32: 32, U64: 64, I64: 64, F64: 64, C64: 64 },
  }),
);
const MAX_HEADER = 100_000_000;
/** Node refuses a single read or write of 2 GiB. */
export const MAX_TRANSFER = 2 ** 30;
const DOWNLOAD_AGAIN = "The file is damaged or only partly copied: fetch it again.";

/** An open safetensors file: the header in memory, tensors read one at a time. */
export class SafetensorsFile implements AsyncDisposable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The header's `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly #header: Header;
  #handle: FileHandle | undefined;

  private constructor(path: string, handle: FileHandle, header: Header) {
    this.path = path;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.#header = header;
    this.#handle = handle;
  }

  /**
   * Opens a file and checks its header against the format and against the file's size. Reads no tensor.
   * @throws StylizingError `CHECKPOINT` when there is no such file or anything in it is not as the format demands
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const info = await stat(path).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    // Looked at before opening: opening a named pipe would wait forever.
    if (!info.isFile())
      throw bad(path, info.isDirectory() ? "is a folder" : "is not a file", "Give the path of a .safetensors file.");
    if ([".pth", ".pt", ".bin", ".ckpt"].includes(extname(path).toLowerCase())) throw pickled(path);
    const handle = await open(path, "r").catch((error: unknown) => {
      throw unreadable(path, error);
    });
    try {
      const { size, mtimeMs, ino } = await handle.stat();
      if (size === 0) throw bad(path, "is empty", DOWNLOAD_AGAIN);
      const start = new Uint8Array(Math.min(size, 16));
      await readInto(path, handle, start, 0);
      const length = size < 8 ? Number.POSITIVE_INFINITY : Number(new DataView(start.buffer).getBigUint64(0, true));
      if (length > MAX_HEADER || length > size - 8 || start[8] !== 0x7b) throw notSafetensors(path, start, length, size);
      const bytes = new Uint8Array(length);
      await readInto(path, handle, bytes, 8);
      const { tensors, metadata } = parseHeader(path, bytes, size - 8 - length);
      return new SafetensorsFile(path, handle, { tensors, metadata, dataStart: 8 + length, size, mtimeMs, ino });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * Opens the same path once more, after `close()` too. The header is read again only where the file has been replaced or
   * written to since; without that, `tensors` is the same object.
   * @throws StylizingError `CHECKPOINT` as `open` does
   */
  async reopen(): Promise<SafetensorsFile> {
    const { size, mtimeMs, ino } = this.#header;
    const same = (now: Stats | undefined) => now?.size === size && now.mtimeMs === mtimeMs && now.ino === ino;
    if (same(await stat(this.path).catch(() => undefined))) {
      const handle = await open(this.path, "r").catch((error: unknown) => {
        throw unreadable(this.path, error);
      });
      // Asked again of what was opened: a header must never be used with another file's data.
      if (same(await handle.stat())) return new SafetensorsFile(this.path, handle, this.#header);
      await handle.close();
    }
    return SafetensorsFile.open(this.path);
  }

  /**
   * The values of an F32, F16 or BF16 tensor, row-major, in an array of its own.
   * @param options `finite: false` lets NaN and infinity through
   * @throws StylizingError `CHECKPOINT` when the tensor is missing, of another dtype, not finite or cannot be read;
   * `DISPOSED` after `close()`
   */
  async read(name: string, options: { finite?: boolean } = {}): Promise<Float32Array> {
    const { handle, info } = this.#found(name);
    const { dtype } = info;
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
      throw bad(this.path, `holds ${name} as ${dtype}`, "Only F32, F16 and BF16 can be read: convert the file to one of them.");
    }
    const raw = new (dtype === "F32" ? Float32Array : Uint16Array)(allocate(this.path, info));
    await readInto(this.path, handle, new Uint8Array(raw.buffer), this.#header.dataStart + info.begin);
    const values = raw instanceof Float32Array ? raw : dtype === "F16" ? float16BitsToFloat32(raw) : bfloat16BitsToFloat32(raw);
    if (options.finite !== false) {
      const at = firstNonFinite(values);
      if (at >= 0)
        throw bad(this.path, `has ${values[at]} in ${name}, element ${at}`, "The file is broken: fetch or write it again.");
    }
    return values;
  }

  /**
   * The values of an I64, I32 or U8 tensor, such as labels.
   * @throws StylizingError as `read` does
   */
  async readIntegers(name: string): Promise<number[]> {
    const { handle, info } = this.#found(name);
    const { dtype } = info;
    const bytes = new Uint8Array(allocate(this.path, info));
    await readInto(this.path, handle, bytes, this.#header.dataStart + info.begin);
    if (dtype === "I64") return Array.from(new BigInt64Array(bytes.buffer), Number);
    if (dtype === "I32") return Array.from(new Int32Array(bytes.buffer));
    if (dtype === "U8") return Array.from(bytes);
    throw bad(
      this.path,
      `holds ${name} as ${dtype}`,
      "Whole numbers are read as I64, I32 or U8: convert the file to one of them.",
    );
  }

  #found(name: string): { handle: FileHandle; info: TensorInfo } {
    const handle = this.#handle;
    if (handle === undefined) throw new StylizingError("DISPOSED", `${this.path} was closed.`, "Read before closing it.");
    const info = this.tensors.get(name);
    if (info === undefined) throw bad(this.path, `has no tensor ${name}`, "Check that the file belongs to this model.");
    return { handle, info };
  }

  /** Closes the file; safe to call twice. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What is wrong with a file, as far as its header and its size tell; undefined where nothing is, or where it only has to be converted. */
export async function damageOfSafetensors(path: string): Promise<string | undefined> {
  try {
    await (await SafetensorsFile.open(path)).close();
  } catch (error) {
    if (!(error instanceof StylizingError)) throw error;
    if (!error.fix.startsWith("Convert")) return error.message.slice(0, -error.fix.length).trimEnd();
  }
  return undefined;
}

/** What a file's header says, and which file it was. */
interface Header {
  tensors: Map<string, TensorInfo>;
  metadata: Map<string, string>;
  dataStart: number;
  size: number;
  mtimeMs: number;
  ino: number;
}

/** A header's JSON, held to the format and to the bytes behind it. @throws StylizingError `CHECKPOINT` */
export function parseHeader(path: string, bytes: Uint8Array, dataLength: number): Pick<Header, "tensors" | "metadata"> {
  let json: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    json = JSON.parse(text);
  } catch (error) {
    throw bad(path, `has a header that is not JSON (${messageOf(error)})`, DOWNLOAD_AGAIN, error);
  }
  if (!isObject(json)) throw bad(path, "has a header that is not a JSON object", DOWNLOAD_AGAIN);
  const twice = duplicateKey(text);
  if (twice !== undefined) throw bad(path, `has ${twice} twice in its header`, DOWNLOAD_AGAIN);
  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(json)) {
    if (name !== "__metadata__") {
      tensors.set(name, parseEntry(path, name, entry, dataLength));
      continue;
    }
    for (const [key, value] of Object.entries(isObject(entry) ? entry : { "": entry })) {
      if (typeof value !== "string") throw bad(path, "has a __metadata__ that is not a map of strings", DOWNLOAD_AGAIN);
      metadata.set(key, value);
    }
  }
  let at = 0;
  for (const info of [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (info.begin < at) throw bad(path, `has ${info.name} overlapping another tensor at byte ${info.begin}`, DOWNLOAD_AGAIN);
    if (info.begin > at) throw bad(path, `has ${info.begin - at} unused bytes before ${info.name}`, DOWNLOAD_AGAIN);
    at = info.end;
  }
  if (at !== dataLength) throw bad(path, `has ${dataLength - at} bytes after its last tensor`, DOWNLOAD_AGAIN);
  return { tensors, metadata };
}

function parseEntry(path: string, name: string, entry: unknown, dataLength: number): TensorInfo {
  const wrong = (what: string, fix = DOWNLOAD_AGAIN) => bad(path, `describes tensor ${name} wrongly: ${what}`, fix);
  if (!isObject(entry)) throw wrong("not an object");
  const { dtype, shape, data_offsets: offsets } = entry;
  const bits = typeof dtype === "string" ? DTYPE_BITS.get(dtype) : undefined;
  if (typeof dtype !== "string") throw wrong("no dtype");
  if (bits === undefined) throw wrong(`unknown dtype ${dtype.slice(0, 40)}`, "Convert the file to F32.");
  if (!isSizes(shape)) throw wrong("shape is not a list of non-negative integers");
  if (!isSizes(offsets) || offsets.length !== 2) throw wrong("data_offsets is not a pair of non-negative integers");
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw wrong(`it begins at ${begin}, after its end ${end}`);
  if (end > dataLength) throw wrong(`it ends at byte ${end} of the data, and the file has only ${dataLength}`);
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (!Number.isSafeInteger(count * bits)) throw wrong(`a shape of ${shape.join(" x ")} is too large`);
  }
  if (count * bits !== (end - begin) * 8) throw wrong(`${end - begin} bytes for ${dtype} [${shape.join(", ")}]`);
  return { name, dtype, shape, begin, end };
}

/** The first key that an object of this (valid) JSON text has twice; `JSON.parse` would quietly keep the last. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // a set of keys per object, undefined per list
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "{") open.push(new Set());
    else if (c === "[") open.push(undefined);
    else if (c === "}" || c === "]") open.pop();
    if (c !== '"') continue;
    const from = i;
    for (i++; text[i] !== '"'; i++) if (text[i] === "\\") i++;
    let next = i + 1;
    while (text[next] === " " || text[next] === "\n" || text[next] === "\r" || text[next] === "\t") next++;
    if (text[next] !== ":") continue;
    const key: string = JSON.parse(text.slice(from, i + 1));
    if (open.at(-1)?.has(key)) return key;
    open.at(-1)?.add(key);
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** Index of the first NaN or infinity (all exponent bits set), or -1. A plain loop: `findIndex` takes twenty times as long. */
function firstNonFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & 0x7f800000) === 0x7f800000) return i;
  return -1;
}

/** Memory for a tensor. Its size was checked against the file's, so only a file larger than memory can fail here. */
function allocate(path: string, info: TensorInfo): ArrayBuffer {
  try {
    return new ArrayBuffer(info.end - info.begin);
  } catch (error) {
    throw bad(
      path,
      `holds ${info.name}, too large for memory (${info.end - info.begin} bytes)`,
      "Use a machine with more.",
      error,
    );
  }
}

async function readInto(path: string, handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle
      .read(bytes, done, Math.min(bytes.length - done, MAX_TRANSFER), position + done)
      .catch((error: unknown) => {
        throw unreadable(path, error);
      });
    if (bytesRead === 0) throw bad(path, `ends at byte ${position + done}, before it should`, DOWNLOAD_AGAIN);
    done += bytesRead;
  }
}

function bad(path: string, problem: string, fix: string, cause?: unknown): StylizingError {
  // A hostile header may hold names and shapes of megabytes.
  if (problem.length > 300) problem = `${problem.slice(0, 300)}...`;
  return new StylizingError("CHECKPOINT", `${path} ${problem}.`, fix, cause === undefined ? {} : { cause });
}

function unreadable(path: string, error: unknown): StylizingError {
  return (error as NodeJS.ErrnoException).code === "ENOENT"
    ? bad(
        path,
        "does not exist",
        "Check the path; for a model, you may also name a published model (`stylizing-vit models` lists them).",
        error,
      )
    : bad(path, `cannot be read (${messageOf(error)})`, "Check the path and its permissions.", error);
}

/** Why a file does not begin like a safetensors file: other formats are recognised by their first bytes. */
function notSafetensors(path: string, start: Uint8Array, length: number, size: number): StylizingError {
  const text = String.fromCharCode(...start);
  // Only asked once the framing is wrong: 0x80 is also a common low byte of a header's length.
  if (text.startsWith("PK\u0003\u0004") || (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5)) return pickled(path);
  if (text.startsWith("version https://")) {
    return bad(path, "is a Git LFS pointer, not the weights", "Run `git lfs pull` in its repository.");
  }
  if (start[0] === 0x3c) return bad(path, "is a web page, not the weights", "Use the file's download link.");
  if (size < 8 || (length > size - 8 && length <= MAX_HEADER)) return bad(path, `is cut off after ${size} bytes`, DOWNLOAD_AGAIN);
  return bad(path, "is not a safetensors file", "Give a .safetensors file, an index of shards, or a folder with one.");
}

function pickled(path: string): StylizingError {
  const file = JSON.stringify(path);
  const target = JSON.stringify(path.slice(0, path.length - extname(path).length).concat(".safetensors"));
  return bad(
    path,
    "is a PyTorch pickle, which can run code when it is loaded and is not read here",
    `Convert it once, in Python:
import torch; from safetensors.torch import save_file
state = torch.load(${file}, map_location="cpu", weights_only=True)
save_file({k: v.contiguous() for k, v in state.items()}, ${target})`,
  );
}
