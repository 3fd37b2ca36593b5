import { readFile } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { ZipFile } from "yazl";
import { StylizingError } from "../errors.js";
import { ensureOutputFolder, removeStale, writeFileAtomic } from "../image/atomic-write.js";
import type { PixelImage } from "../image/types.js";
import { GroupParts } from "./group-parts.js";
import { type Classes, numberClasses } from "./labels.js";
import { npyHeader } from "./npy.js";
import type { NpzDataSet } from "./npz.js";
import { inPieces } from "./pieces.js";
import { type Catalogue, pixelsOf, restOf } from "./sample.js";
import type { DataSetWriter, Output, WriterOptions } from "./types.js";

/** What is known of a group's parts. */
interface Group {
  count: number;
  /** Shapes of an entry of each array, and its type. */
  arrays: Record<string, { descr: string; shape: number[] }>;
}

/** Values of a label where the input has no bytes of it. */
const LABEL = "<i8";

/**
 * Writes an npz as MedMNIST has it. Groups are kept as raw values and become one file at the end. Of an npz its labels are repeated as they
 * are, and what is not of the split is copied; labels of others are 64-bit numbers.
 */
export async function createNpzWriter(out: string, like: Catalogue, options: WriterOptions): Promise<DataSetWriter> {
  const source = like.format === "npz" ? (like as NpzDataSet) : undefined;
  const classes = source ? undefined : await numberClasses(like, options);
  const lacking = [...like.parts, ...(like.others ?? []), ...like.fields];
  if (lacking.length > 0) options.onNote?.(`not carried over into an npz: ${lacking.join(", ")}`);
  const split = source?.split ?? "train";
  const [images, labels] = [`${split}_images`, `${split}_labels`];
  const name = source ? path.basename(source.path) : "data.npz";
  await ensureOutputFolder(out);
  await removeStale(out);
  const parts = new GroupParts(out, options.joins);
  const file = path.join(out, name);
  const channels = source && (source.images.shape[3] ?? 1) === 1 ? 1 : 3;
  let first: string | undefined;

  /** @throws StylizingError `ARGUMENT` where an image is of another size. */
  const shapeOf = ({ width, height }: PixelImage, { sample }: Output): number[] => {
    const size = `${width} × ${height}`;
    first ??= size;
    if (size !== first) {
      const problem = `An npz holds images of one size, and ${sample.source} is ${size} where others are ${first}.`;
      throw new StylizingError("ARGUMENT", problem, "Scale them to one size, or choose another format.");
    }
    return channels === 3 ? [height, width, 3] : source?.images.shape.length === 4 ? [height, width, 1] : [height, width];
  };

  return {
    format: "npz",
    place: ({ sample, copy }) => `${name}#${sample.key}__${copy}`,
    async write(group, outputs) {
      const rows = new Map<string, Uint8Array[]>();
      const about: Group = { count: outputs.length, arrays: {} };
      const add = (array: string, row: Uint8Array, descr: string, shape: number[]) => {
        const known = about.arrays[array] ?? { descr, shape };
        about.arrays[array] = known;
        if (known.shape.join() !== shape.join()) {
          throw new StylizingError("ARGUMENT", `Labels of several lengths do not fit ${array}.`, "Give each the same number.");
        }
        const some = rows.get(array) ?? [];
        some.push(row);
        rows.set(array, some);
      };
      for (const output of outputs) {
        const image = await pixelsOf(output, channels);
        add(images, image.data, "|u1", shapeOf(image, output));
        for (const { name, descr, shape } of source?.beside ?? []) {
          add(name, restOf(output.sample).rows!.get(name)!, descr, shape.slice(1));
        }
        const label = classes && labelRow(output, classes);
        if (label) add(labels, label, LABEL, [label.length / 8]);
      }
      for (const [array, some] of rows) await parts.write(group, `${array}.raw`, inPieces(some));
      // The last: with it the group is there.
      await parts.write(group, "json", JSON.stringify(about));
    },
    open: () => parts.open(),
    async finish(groups) {
      await parts.assemble(groups, "json", file, async () => {
        const about: Group[] = [];
        for (let group = 0; group < groups; group++) {
          about.push(JSON.parse(await readFile(parts.file(group, "json"), "utf8")) as Group);
        }
        const full = about.filter(({ count }) => count > 0);
        const count = full.reduce((sum, one) => sum + one.count, 0);
        const zip = new ZipFile();
        const add = (array: string, size: number, open: () => Readable | Promise<NodeJS.ReadableStream>) => {
          // The same bytes for the same arrays: numpy's own date, in fields that know no time zone.
          const stamp = { mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true };
          zip.addReadStreamLazy(`${array}.npy`, { ...stamp, size, compress }, (give) => {
            Promise.resolve<NodeJS.ReadableStream>(open()).then(
              (stream) => give(null, stream),
              (error) => give(error, new Readable()),
            );
          });
        };
        const compress = source ? (await source.npz.bytes(images)).compressed : false;
        const { arrays }: Pick<Group, "arrays"> = full[0] ?? { arrays: {} };
        for (const array of source?.npz.names ?? Object.keys(arrays)) {
          const made = arrays[array];
          // Of no output there are no rows.
          if (!made && (array === images || source?.beside.some(({ name }) => name === array))) continue;
          if (!made) {
            // What belongs to another split, or to no image.
            const { size, open } = await source!.npz.bytes(array);
            add(array, size, open);
            continue;
          }
          const { descr, shape } = made;
          const other = full.find((one) => one.arrays[array]?.shape.join() !== shape.join());
          if (other) {
            const problem = `An npz holds images of one size, and there are ${shape.join(" × ")} and ${other.arrays[array]?.shape.join(" × ")} in ${array}.`;
            throw new StylizingError("ARGUMENT", problem, "Scale them to one size, or choose another format.");
          }
          const header = npyHeader(descr, [count, ...shape]);
          const itemBytes = Number(/\d+$/.exec(descr)![0]) * (descr.includes("U") ? 4 : 1);
          const rowBytes = shape.reduce((product, axis) => product * axis, itemBytes);
          add(array, header.length + count * rowBytes, () =>
            Readable.from(valuesOf(parts, about, array, header), { objectMode: false }),
          );
        }
        const output = zip.outputStream as Readable;
        zip.on("error", (error: Error) => output.destroy(error));
        zip.end();
        await writeFileAtomic(file, output);
      });
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function* valuesOf(parts: GroupParts, about: readonly Group[], array: string, header: Buffer) {
  yield header;
  for (const [group, { count }] of about.entries()) if (count > 0) yield* parts.read(group, `${array}.raw`);
}

/** A label's numbers, 64 bits each. */
function labelRow({ sample }: Output, classes: Classes): Uint8Array | undefined {
  const number = classes.numberOf(sample.label);
  if (number === undefined) return undefined;
  return new Uint8Array(BigInt64Array.from([number].flat() as number[], (one) => BigInt(Math.trunc(one))).buffer);
}
