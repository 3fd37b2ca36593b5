import path from "node:path";
import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { messageOf, StylizingError } from "../errors.js";
import { someOf } from "../image/folder.js";
import { ByteReader } from "./byte-reader.js";
import { isNumeric, type NpyHeader, readNpyHeader, valuesOf } from "./npy.js";
import type { Catalogue } from "./sample.js";
import type { LostSample, OpenDataSetOptions, Sample, SampleKey } from "./types.js";

/** An array in an npz. */
export interface NpzArray extends NpyHeader {
  /** Without `.npy`. */
  readonly name: string;
  readonly entry: Entry;
}

/** An npz whose arrays are read as streams, never whole. */
export interface Npz extends AsyncDisposable {
  readonly file: string;
  readonly names: readonly string[];
  /** @throws StylizingError `ARGUMENT` where its header is broken or says another size than there is. */
  array(name: string): Promise<NpzArray>;
  /** All of an entry's bytes, header and values, uncompressed. */
  bytes(name: string): Promise<{ size: number; compressed: boolean; open: () => Promise<NodeJS.ReadableStream> }>;
  /** Entries of the first axis, from the `from`-th on. @throws StylizingError `IMAGE` where the file is damaged. */
  rows(array: NpzArray, from: number): AsyncGenerator<Buffer>;
}

const STORED = 0;

const damaged = (file: string, error: unknown, code: "IMAGE" | "ARGUMENT" = "IMAGE"): StylizingError =>
  error instanceof StylizingError
    ? error
    : new StylizingError(code, `${file} is damaged: ${messageOf(error)}.`, "Fetch or write it again.", { cause: error });

/** @throws StylizingError `ARGUMENT` where it is no zip archive. */
export async function openNpz(file: string): Promise<Npz> {
  let zip: ZipFile;
  const entries = new Map<string, Entry>();
  try {
    zip = await openPromise(file, { autoClose: false, lazyEntries: true });
    for await (const entry of zip.eachEntry()) entries.set(entry.fileName.replace(/\.npy$/, ""), entry);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const problem = missing ? `${file} does not exist.` : `${file} is no npz, or it is cut short: ${messageOf(error)}.`;
    throw new StylizingError("ARGUMENT", problem, missing ? "Check the path." : "Fetch or write it again.", { cause: error });
  }
  const entryOf = (name: string): Entry => entries.get(name)!;
  const open = (entry: Entry, from?: number) =>
    zip.openReadStreamPromise(entry, from === undefined ? {} : { start: from, end: entry.uncompressedSize });
  return {
    file,
    names: [...entries.keys()],
    async array(name) {
      const entry = entryOf(name);
      const reader = new ByteReader(
        await open(entry).catch((error: unknown) => {
          throw damaged(file, error, "ARGUMENT");
        }),
      );
      try {
        const header = await readNpyHeader(reader, `${name} of ${file}`);
        const size = header.headerBytes + header.rowBytes * (header.shape[0] ?? 1);
        if (size !== entry.uncompressedSize) {
          const problem = `The array ${name} of ${file} says [${header.shape.join(", ")}], which is ${size} bytes with its header, and has ${entry.uncompressedSize}.`;
          throw new StylizingError("ARGUMENT", problem, "Fetch or write the file again.");
        }
        return { ...header, name, entry };
      } catch (error) {
        throw damaged(file, error, "ARGUMENT");
      } finally {
        await reader.close();
      }
    },
    async bytes(name) {
      const entry = entryOf(name);
      return { size: entry.uncompressedSize, compressed: entry.compressionMethod !== STORED, open: () => open(entry) };
    },
    async *rows({ entry, headerBytes, rowBytes, shape }, from) {
      const first = headerBytes + from * rowBytes;
      // What is stored as it is can be entered anywhere.
      const jumps = from > 0 && entry.compressionMethod === STORED;
      let crc = 0;
      const summed = async function* (source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          crc = crc32(chunk, crc);
          yield chunk;
        }
      };
      let reader: ByteReader | undefined;
      try {
        const source = (await open(entry, jumps ? first : undefined)) as AsyncIterable<Uint8Array>;
        reader = new ByteReader(jumps ? source : summed(source));
        if (!jumps) await reader.skip(first);
        for (let row = from; row < shape[0]!; row++) {
          const bytes = await reader.take(rowBytes);
          if (bytes.length < rowBytes) throw new Error(`it ends in row ${row}`);
          yield bytes;
        }
        // Its last bytes have been taken, and the stream says what it thinks of them when it is asked for more.
        await reader.take(1);
        if (!jumps && crc !== entry.crc32) throw new Error(`the checksum of ${entry.fileName} is another`);
      } catch (error) {
        throw damaged(file, error);
      } finally {
        await reader?.close();
      }
    },
    async [Symbol.asyncDispose]() {
      zip.close();
    },
  };
}

/** An npz as a data set: what its writer needs. */
export interface NpzDataSet extends Catalogue {
  readonly format: "npz";
  readonly npz: Npz;
  /** `train`, and with it `train_images`. */
  readonly split: string;
  readonly images: NpzArray;
  /** Arrays that have a row for every image: labels. */
  readonly beside: readonly NpzArray[];
}

/**
 * Images of a MedMNIST npz: `train_images`, bytes [n, h, w] or [n, h, w, 3], and `train_labels`, [n] or [n, k]; other arrays of the split
 * with n rows go with the images. A key is the row. The checksum of an array is compared when all of it was read.
 * @throws StylizingError `ARGUMENT` where it is no such npz.
 */
export async function openNpzDataSet(file: string, { split = "train", domain }: OpenDataSetOptions): Promise<NpzDataSet> {
  const npz = await openNpz(file);
  try {
    return await ofNpz(npz, split.replace(/_images$/, ""), domain);
  } catch (error) {
    await npz[Symbol.asyncDispose]();
    throw error;
  }
}

async function ofNpz(npz: Npz, split: string, domain: string | undefined): Promise<NpzDataSet> {
  const { file, names } = npz;
  const need = (name: string, fix: string) => {
    if (names.includes(name)) return name;
    const found = names.length > 0 ? `it has ${someOf(names, 8)}` : "it is empty";
    throw new StylizingError("ARGUMENT", `${file} has no array ${name}: ${found}.`, fix);
  };
  const images = await npz.array(need(`${split}_images`, "Name the split whose images are read, such as train."));
  const [count = 0, height = 0, width = 0, channels = 1] = images.shape;
  const isImages =
    images.descr.endsWith("u1") && images.shape.length >= 3 && images.shape.length <= 4 && [1, 3].includes(channels);
  if (!isImages) {
    const problem = `${images.name} of ${file} has values of type ${images.descr} and the shape [${images.shape.join(", ")}].`;
    throw new StylizingError("ARGUMENT", problem, "Give bytes (uint8) as [n, height, width] or [n, height, width, 3].");
  }
  if (count === 0 || images.rowBytes === 0) {
    throw new StylizingError("ARGUMENT", `${images.name} of ${file} holds no images.`, "Give at least one.");
  }
  need(`${split}_labels`, `Labels are missing: save them as ${split}_labels, [n, 1].`);
  const beside: NpzArray[] = [];
  for (const name of names.filter((name) => name.startsWith(`${split}_`) && name !== images.name)) {
    const array = await npz.array(name);
    if (array.shape[0] === count) beside.push(array);
    else if (name === `${split}_labels`) {
      const problem = `${file} has ${count} images and labels for ${array.shape[0] ?? 1}.`;
      throw new StylizingError("ARGUMENT", problem, "Give a row of labels for each image.");
    }
  }
  const labels = beside.find(({ name }) => name === `${split}_labels`)!;
  if (!isNumeric(labels)) {
    throw new StylizingError("ARGUMENT", `${labels.name} of ${file} has values of type ${labels.descr}.`, "Save numbers.");
  }
  const domains =
    domain === undefined ? undefined : need(`${split}_${domain}`, "Name one of these, without the split, as the domain.");

  const keyOf = (index: number, rows: ReadonlyMap<string, Uint8Array>): SampleKey => {
    const values = valuesOf(labels, rows.get(labels.name)!) as number[];
    const from = beside.find(({ name }) => name === domains);
    return {
      key: String(index),
      source: `${path.basename(file)}#${index}`,
      label: labels.shape.length === 1 || values.length === 1 ? values[0] : values,
      domain: from && [valuesOf(from, rows.get(from.name)!)].flat().join(" "),
    };
  };
  /** Rows of several arrays together. */
  async function* together(arrays: readonly NpzArray[], from: number) {
    const sources = arrays.map((array) => npz.rows(array, from));
    try {
      for (let index = from; index < count; index++) {
        const rows = new Map<string, Buffer>();
        for (const [i, { name }] of arrays.entries()) rows.set(name, (await sources[i]!.next()).value as Buffer);
        yield { index, rows };
      }
      // Each says when it is asked for more than there is whether all of it was sound.
      for (const source of sources) await source.next();
    } finally {
      for (const source of sources) await source.return(undefined);
    }
  }
  return {
    format: "npz",
    path: file,
    count,
    fields: [],
    parts: [],
    ...{ npz, split, images, beside },
    async *keys(signal) {
      for await (const { index, rows } of together(beside, 0)) {
        signal?.throwIfAborted();
        yield keyOf(index, rows);
      }
    },
    async *samples({ from = 0, signal } = {}): AsyncGenerator<Sample | LostSample> {
      let next = from;
      try {
        for await (const { index, rows } of together([...beside, images], from)) {
          signal?.throwIfAborted();
          // The stream's own piece of memory may hold many rows.
          const data = new Uint8Array(rows.get(images.name)!);
          next = index + 1;
          const image = { data, width, height, channels: channels as 1 | 3 };
          yield { ...keyOf(index, rows), image, rest: { rows } };
        }
      } catch (error) {
        // Behind a damaged place nothing can be read.
        if (signal?.aborted || next === count) throw error;
        for (; next < count; next++) yield { key: String(next), source: `${path.basename(file)}#${next}`, error };
      }
    },
    [Symbol.asyncDispose]: () => npz[Symbol.asyncDispose](),
  };
}
