import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createGunzip } from "node:zlib";
import { Header, Pax } from "tar";
import { messageOf, StylizingError } from "../errors.js";
import { ByteReader } from "./byte-reader.js";

const BLOCK = 512;
const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

/** Bytes that are asked for from front to back. */
interface Bytes {
  readonly position: number;
  take(count: number): Promise<Buffer>;
  skip(count: number): Promise<number>;
  close(): Promise<void>;
}

/** A file, in which what is passed over is not read. */
class FileBytes implements Bytes {
  readonly #handle: FileHandle;
  readonly #size: number;
  readonly #ahead = Buffer.alloc(1 << 16);
  /** What of the file is in memory. */
  #held = { from: 0, to: 0 };
  position = 0;

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.#size = size;
  }

  async take(count: number): Promise<Buffer> {
    const size = Math.max(0, Math.min(count, this.#size - this.position));
    const bytes = Buffer.alloc(size);
    for (let have = 0; have < size; ) {
      const at = this.position;
      if (at < this.#held.from || at >= this.#held.to) {
        // Much at once goes where it belongs.
        const direct = size - have >= this.#ahead.length;
        const target = direct ? bytes.subarray(have) : this.#ahead;
        const { bytesRead } = await this.#handle.read(target, 0, target.length, at);
        if (bytesRead === 0) return bytes.subarray(0, have);
        if (direct) {
          have += bytesRead;
          this.position += bytesRead;
          continue;
        }
        this.#held = { from: at, to: at + bytesRead };
      }
      const some = Math.min(size - have, this.#held.to - at);
      this.#ahead.copy(bytes, have, at - this.#held.from, at - this.#held.from + some);
      have += some;
      this.position += some;
    }
    return bytes;
  }

  async skip(count: number): Promise<number> {
    const some = Math.max(0, Math.min(count, this.#size - this.position));
    this.position += some;
    return some;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function openBytes(file: string): Promise<Bytes> {
  if (/\.(tar\.gz|tgz)$/i.test(file)) {
    const source = createReadStream(file);
    const unzip = createGunzip();
    source.on("error", (error) => unzip.destroy(error));
    unzip.on("close", () => source.destroy());
    return new ByteReader(source.pipe(unzip));
  }
  const handle = await open(file);
  return new FileBytes(handle, (await handle.stat()).size);
}

/** A file in a tar. */
export interface Member {
  readonly path: string;
  /** Missing where it was not wanted. */
  readonly bytes?: Buffer | undefined;
  /** Why it cannot be had: the archive ends in it. */
  readonly error?: unknown;
}

/** An archive that ends before it should; what came before is sound. */
export class CutShort extends StylizingError {
  constructor(file: string, position: number, options?: { cause?: unknown }) {
    super("IMAGE", `${file} is cut short or damaged at byte ${position}.`, "Fetch or write it again.", options);
  }
}

/**
 * Files of a tar (ustar, pax and GNU's long names), in order; `.tar.gz` is unpacked on the way. Of a plain tar only headers
 * are read where members are not wanted.
 * @returns whether it ends as it should, with an empty block.
 * @throws CutShort where a header cannot be read.
 */
export async function* tarMembers(file: string, wanted: (path: string) => boolean): AsyncGenerator<Member, boolean> {
  const bytes = await openBytes(file);
  let [own, global]: [Pax | undefined, Pax | undefined] = [undefined, undefined];
  let longPath: string | undefined;
  const text = async (size: number): Promise<string> => {
    const body = await bytes.take(padded(size));
    if (body.length < size || size > 1 << 20) throw new CutShort(file, bytes.position);
    return body.toString("utf8", 0, size);
  };
  try {
    for (;;) {
      const at = bytes.position;
      const block = await bytes.take(BLOCK);
      // Nothing more, or a piece of the empty block.
      if (block.length < BLOCK && block.every((byte) => byte === 0)) return false;
      if (block.length < BLOCK) throw new CutShort(file, at);
      const header = new Header(block, 0, own, global);
      if (header.nullBlock) return true;
      if (!header.cksumValid) throw new CutShort(file, at);
      const { type, size = 0 } = header;
      if (type === "ExtendedHeader") own = Pax.parse(await text(size), own, false);
      else if (type === "GlobalExtendedHeader") global = Pax.parse(await text(size), global, true);
      else if (type === "NextFileHasLongPath" || type === "OldGnuLongPath") longPath = (await text(size)).replace(/\0.*/s, "");
      else {
        const path = longPath ?? header.path ?? "";
        [own, longPath] = [undefined, undefined];
        const isFile = type === "File" || type === "OldFile" || type === "ContiguousFile";
        const takes = isFile && wanted(path);
        const body = takes ? await bytes.take(size) : undefined;
        const rest = padded(size) - (body?.length ?? 0);
        const passed = await bytes.skip(rest);
        if (isFile) {
          // Some writers leave out what fills the last block.
          const whole = (body?.length ?? 0) + passed >= size;
          yield whole ? { path, bytes: body } : { path, error: new CutShort(file, bytes.position) };
        }
      }
    }
  } catch (error) {
    if (error instanceof StylizingError) throw error;
    // What unpacks it says so of a damaged .tar.gz.
    throw new CutShort(`${file} (${messageOf(error)})`, bytes.position, { cause: error });
  } finally {
    await bytes.close();
  }
}

/** A file for {@link tarOf}. */
export interface NewMember {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The bytes of a tar, piece by piece: the same for the same files, since neither times nor owners are in it. */
export function* tarOf(members: Iterable<NewMember>): Generator<Uint8Array> {
  const about = { mode: 0o644, uid: 0, gid: 0, uname: "", gname: "", mtime: new Date(0) };
  for (const { path, bytes } of members) {
    const header = new Header({ ...about, path, size: bytes.length, type: "File" });
    const block = Buffer.alloc(BLOCK);
    // What does not fit its fields goes into a header of its own before it.
    if (header.encode(block)) yield new Pax({ path, size: bytes.length }).encode();
    yield block;
    yield bytes;
    yield Buffer.alloc(padded(bytes.length) - bytes.length);
  }
  yield Buffer.alloc(2 * BLOCK);
}
