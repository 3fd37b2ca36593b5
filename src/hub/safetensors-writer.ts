import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { float32ToFloat16Bits } from "./float16.js";
import { isSizes, MAX_TRANSFER } from "./safetensors.js";

/** A tensor to write. `data` may be a function, called when its turn comes, so that not all need exist at once. */
export interface TensorToWrite {
  readonly shape: readonly number[];
  readonly data: Float32Array | (() => Float32Array | Promise<Float32Array>);
}

/**
 * Writes a safetensors file, in the order given. It appears whole or not at all: bytes go to a file beside it, which is
 * flushed to disk and then renamed. Whatever the iterable or a data function throws is passed on, with nothing left behind.
 * @param options `dtype` is F32 unless told; `metadata` goes into the header
 * @throws StylizingError `OUTPUT` when the file cannot be written, `ARGUMENT` when tensors do not fit their shapes or names repeat
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, TensorToWrite]> | AsyncIterable<readonly [string, TensorToWrite]>,
  options: { metadata?: Readonly<Record<string, string>>; dtype?: "F32" | "F16" } = {},
): Promise<void> {
  const dtype = options.dtype ?? "F32";
  const entries: [name: string, bytes: number, tensor: TensorToWrite][] = [];
  const header = new Map<string, unknown>();
  if (options.metadata !== undefined) header.set("__metadata__", options.metadata);
  let end = 0;
  for await (const [name, tensor] of tensors) {
    if (header.has(name) || name === "__metadata__") throw argument(`The tensor name ${name} is used twice or reserved.`);
    if (!isSizes(tensor.shape)) throw argument(`The shape of ${name} is not a list of non-negative integers.`);
    const bytes = tensor.shape.reduce((a, b) => a * b, 1) * (dtype === "F32" ? 4 : 2);
    header.set(name, { dtype, shape: tensor.shape, data_offsets: [end, end + bytes] });
    entries.push([name, bytes, tensor]);
    end += bytes;
  }
  const head = safetensorsHead(Object.fromEntries(header));

  const partial = `${resolve(path)}.${process.pid}.${randomBytes(6).toString("hex")}.partial`;
  const handle = await output(path, () => open(partial, "wx"));
  try {
    try {
      await output(path, () => writeAll(handle, head));
      for (const [name, bytes, tensor] of entries) {
        const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
        const stored = dtype === "F32" ? data : float32ToFloat16Bits(data);
        if (stored.byteLength !== bytes) {
          throw argument(`${name} has ${data.length} values for the shape [${tensor.shape.join(", ")}].`);
        }
        await output(path, () => writeAll(handle, new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)));
      }
      await output(path, () => handle.sync());
    } finally {
      await handle.close();
    }
    await output(path, () => rename(partial, path));
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** What stands before the data: the header's length and its JSON, padded with spaces, so that the data begins at a multiple of eight. */
export function safetensorsHead(header: Readonly<Record<string, unknown>>): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.length - 8), true);
  head.set(json, 8);
  return head;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, Math.min(bytes.length - done, MAX_TRANSFER))).bytesWritten;
  }
}

async function output<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const full = (error as NodeJS.ErrnoException).code === "ENOSPC";
    const fix = full ? "The disk is full: free some space." : "Check that the folder exists and that you may write to it.";
    throw new StylizingError("OUTPUT", `${path} could not be written (${messageOf(error)}).`, fix, { cause: error });
  }
}

function argument(problem: string): StylizingError {
  return new StylizingError("ARGUMENT", problem, "Give every tensor a name of its own and as many values as its shape says.");
}
