import { createWriteStream, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { beforeAll, describe, expect, it } from "vitest";
import { ZipFile } from "yazl";
import { npyHeader } from "../../src/datasets/npy.js";
import { createWriter, openDataSet } from "../../src/datasets/open.js";
import { isLost } from "../../src/datasets/sample.js";
import { tarOf } from "../../src/datasets/tar.js";
import type { DataFormat, DataSet, OpenDataSetOptions } from "../../src/datasets/types.js";
import { encodeImage } from "../../src/image/encode.js";
import { failure, noise, temporaryFolder } from "../image/helpers.js";
import { writeAll } from "./drawn.js";

const root = temporaryFolder();
let png: Uint8Array;
let number = 0;

beforeAll(async () => {
  png = await encodeImage(noise(8, 8, 3), { format: "png" });
});

/** A folder of its own with these files; what is no text is an image. */
function folderOf(files: Record<string, string | Uint8Array | undefined>): string {
  const folder = join(root, String(number++));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content ?? png);
  }
  return folder;
}

/** Images by these names. */
const images = (...names: string[]) => Object.fromEntries(names.map((name) => [name, undefined]));
const refused = async (path: string, options?: OpenDataSetOptions) =>
  (await failure(openDataSet(path, options), "ARGUMENT")).message;

/** Keys of all samples in order, and what is said of those that are lost: by `samples` and by `keys`, which agree. */
async function read(set: DataSet) {
  const keys: string[] = [];
  const lost = new Map<string, string>();
  for await (const sample of set.samples()) {
    keys.push(sample.key);
    if (isLost(sample)) lost.set(sample.key, (await failure(Promise.reject(sample.error), "IMAGE")).message);
  }
  expect(keys).toHaveLength(set.count);
  await set[Symbol.asyncDispose]();
  return { keys, lost };
}

async function lostKeys(set: DataSet): Promise<string[]> {
  const lost: string[] = [];
  for await (const key of set.keys()) if (isLost(key)) lost.push(key.key);
  return lost;
}

describe("a folder", () => {
  it("is refused where labels are missing or there is nothing", async () => {
    expect(await refused(folderOf(images("a/1.png", "2.png")))).toMatch(/2\.png lies outside.*no label.*Move it/);
    expect(await refused(folderOf({ "a/notes.md": "" }))).toMatch(/no images in .*Give a folder/);
    expect(await refused(join(root, "gone"))).toMatch(/gone does not exist\. Name its format/);
    expect(await refused(folderOf({ "x.bin": "" }).concat("/x.bin"))).toMatch(/no data set that its name tells/);
    const folder = folderOf(images("a/1.png", "b/2.png"));
    expect(await refused(folder, { domain: "center" })).toMatch(/a domain is a number.*"center".*1 is the first/);
    expect(await refused(folder, { domain: "2" })).toMatch(/1\.png lies in no folder number 2/);
    expect(await refused(folder, { split: "val" })).toMatch(/no split val: its folders are a, b/);
    expect(await refused(folder, { format: "zarr" as DataFormat })).toMatch(/Unknown format "zarr"/);
  });

  it("says what is no sample, and reads the training split alone", async () => {
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    const folder = folderOf(images("train/a/1.png", "train/a/1.jpg", "train/b/2_mask.png", "val/a/3.png"));
    const set = await openDataSet(folder, { onNote });
    expect((await read(set)).keys).toEqual(["train/a/1.jpg", "train/a/1.png"]);
    expect(notes).toEqual([
      expect.stringMatching(/without an image: b\/2_mask\.png/),
      expect.stringMatching(/folder train of .* alone/),
    ]);
    expect((await read(await openDataSet(folder, { split: "val" }))).keys).toEqual(["val/a/3"]);
    notes.length = 0;
    await openDataSet(folderOf(images("1.png")), { onNote });
    expect(notes).toEqual([expect.stringMatching(/no labels/)]);
  });
});

describe("a table", () => {
  const csv = (text: string, ...names: string[]) => join(folderOf({ "set.csv": text, ...images(...names) }), "set.csv");

  it("is refused where it lacks a column or names an image twice", async () => {
    expect(await refused(csv("path,x\na.png,1\n"))).toMatch(/no column "label": "path", "x"\. It has no labels/);
    expect(await refused(csv("name,label\na.png,1\n"))).toMatch(/no column "path".*Name the column of images/);
    expect(await refused(csv("path,label\n"))).toMatch(/no rows/);
    expect(await refused(csv("path,label\na.png,1\nb.png,0\n./a.png,1\n"))).toMatch(/names \.\/a\.png twice.*line 4.*Remove/);
    expect(await refused(csv("path,label\na.png\n"))).toMatch(/is no CSV file: .*line 2/);
    expect(await refused(csv("path,label,label\na.png,1,1\n"))).toMatch(/several columns "label"/);
    expect(await refused(csv("path,label\na.png,1\n"), { domain: "center" })).toMatch(/no column "center".*as the domain/);
    expect(await refused(csv("path,label,split\na.png,1,test\n"), { split: "train" })).toMatch(/no rows of the split train/);
    expect(await refused(csv("path,label\na.png,1\n"), { split: "train" })).toMatch(/no column "split"/);
  });

  it("loses rows without their file or label, and gives the rest", async () => {
    const text = "path,label,mask\na.png,x,\ngone.png,x,\nb.png,,\n,x,\nc.png,y,gone_mask.png\nd.png,y,\n";
    const path = csv(text, "a.png", "b.png", "c.png", "d.png");
    const { keys, lost } = await read(await openDataSet(path));
    expect(keys).toEqual(["a", "gone", "b", "set.csv#5", "c", "d"]);
    expect([...lost]).toEqual([
      ["gone", expect.stringMatching(/line 3: there is no file .*gone\.png\. Check the path; paths in the table are relative/)],
      ["b", expect.stringMatching(/line 4 has no label in "label"\. Fill it in/)],
      ["set.csv#5", expect.stringMatching(/line 5 names no image/)],
      ["c", expect.stringMatching(/line 6, "mask": there is no file/)],
    ]);
    expect(await lostKeys(await openDataSet(path))).toEqual(["gone", "b", "set.csv#5"]);
  });

  it("takes the training rows alone, of Camelyon17 as WILDS splits it", async () => {
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    const path = csv("path,label,split\na.png,x,train\nb.png,x,test\n", "a.png", "b.png");
    expect((await read(await openDataSet(path, { onNote }))).keys).toEqual(["a"]);
    expect(notes).toEqual([expect.stringMatching(/the split train alone, 1 of 2 rows.*"all" takes every row/)]);
    const rows = [0, 1, 2, 3, 4].flatMap((center) => [0, 1].map((split) => `4,${center},1,${split},0,0,${center},${split}`));
    const camelyon = csv(`patient,node,x_coord,y_coord,tumor,slide,center,split\n${rows.join("\n")}\n`);
    const centers = async (split?: string) => {
      const found: string[] = [];
      for await (const { source } of (await openDataSet(camelyon, { split })).keys()) {
        found.push(source.replace(/.*node_(\d).*_y_(\d)\.png/, "$1$2"));
      }
      return found.join(" ");
    };
    expect(await centers()).toBe("00 30 40");
    expect(await centers("id_val")).toBe("01 31 41");
    expect(await centers("val")).toBe("10 11");
    expect(await centers("test")).toBe("20 21");
    expect(await centers("all")).toBe("00 01 10 11 20 21 30 31 40 41");
  });

  it("keeps endings in keys where two would be one, and reads files elsewhere", async () => {
    const folder = folderOf({ "tables/set.csv": "path,label\n../a.png,1\n../a.jpg,1\n", ...images("a.png", "a.jpg") });
    const { keys, lost } = await read(await openDataSet(join(folder, "tables/set.csv")));
    expect([keys, lost.size]).toEqual([["a.png", "a.jpg"], 0]);
  });

  it("of JSON is refused with the line", async () => {
    const hf = (text: string) => folderOf({ "metadata.jsonl": text, ...images("a.png") });
    expect(await refused(hf('{"label": 1}\n'))).toMatch(/no column "file_name": "label"/);
    expect(await refused(hf('{"file_name": "a.png"}\n\n{"file_name": \n'))).toMatch(/line 3, is no JSON/);
    expect(await refused(hf("[1]\n"))).toMatch(/line 1, is no JSON object/);
    expect(await refused(hf(""))).toMatch(/no rows/);
    const { keys, lost } = await read(
      await openDataSet(hf('\uFEFF{"file_name": "a.png", "label": 0}\n{"file_name": "b.png", "label": 0}\n')),
    );
    expect([keys, [...lost.keys()]]).toEqual([["a", "b"], ["b"]]);
  });
});

describe("an npz", () => {
  const bytes = (count: number) => Buffer.from(Array.from({ length: count }, (_, i) => (i * 37) % 256));
  const IMAGES: [string, number[], Buffer] = ["|u1", [4, 8, 8, 3], bytes(4 * 192)];
  const LABELS: [string, number[], Buffer] = ["|u1", [4, 1], bytes(4)];
  async function npz(arrays: Record<string, [string, number[], Buffer] | Buffer>, compress = false): Promise<string> {
    const zip = new ZipFile();
    for (const [name, array] of Object.entries(arrays)) {
      const content = Buffer.isBuffer(array) ? array : Buffer.concat([npyHeader(array[0], array[1]), array[2]]);
      zip.addBuffer(content, `${name}.npy`, { compress });
    }
    zip.end();
    const file = join(folderOf({ "x.txt": "" }), "set.npz");
    await pipeline(zip.outputStream, createWriteStream(file));
    return file;
  }

  it("is refused where it is none, is cut short or lies about its size", async () => {
    expect(await refused(join(folderOf({ "a.npz": "hello, this is no archive of arrays at all" }), "a.npz"))).toMatch(
      /no npz.*Fetch/,
    );
    const cut = await npz({ train_images: IMAGES, train_labels: LABELS });
    truncateSync(cut, statSync(cut).size - 30);
    expect(await refused(cut)).toMatch(/cut short/);
    const lie: [string, number[], Buffer] = ["|u1", [5, 8, 8, 3], IMAGES[2]];
    expect(await refused(await npz({ train_images: lie, train_labels: LABELS }))).toMatch(
      /says \[5, 8, 8, 3\], which is 1088 bytes.*has 896\. Fetch/,
    );
    const huge: [string, number[], Buffer] = ["|u1", [4, 2 ** 40, 2 ** 40, 3], IMAGES[2]];
    expect(await refused(await npz({ train_images: huge, train_labels: LABELS }))).toMatch(/too large/);
  });

  it("is refused where labels are missing or images are none", async () => {
    expect(await refused(await npz({ train_images: IMAGES }))).toMatch(
      /no array train_labels: it has train_images\. Labels are missing/,
    );
    expect(await refused(await npz({ images: IMAGES }))).toMatch(/no array train_images: it has images/);
    const three: [string, number[], Buffer] = ["|u1", [3, 1], bytes(3)];
    expect(await refused(await npz({ train_images: IMAGES, train_labels: three }))).toMatch(/4 images and labels for 3/);
    const floats: [string, number[], Buffer] = ["<f4", [4, 8, 6], IMAGES[2]];
    expect(await refused(await npz({ train_images: floats, train_labels: LABELS }))).toMatch(/type <f4.*Give bytes \(uint8\)/);
    const volume: [string, number[], Buffer] = ["|u1", [4, 6, 8, 4], IMAGES[2]];
    expect(await refused(await npz({ train_images: volume, train_labels: LABELS }))).toMatch(/shape \[4, 6, 8, 4\]/);
    const none: [string, number[], Buffer] = ["|u1", [0, 8, 8], bytes(0)];
    expect(await refused(await npz({ train_images: none, train_labels: LABELS }))).toMatch(/holds no images/);
    const fortran = Buffer.from(
      Buffer.concat([npyHeader("|u1", [4, 8, 8, 3]), IMAGES[2]])
        .toString("latin1")
        .replace("False", "True "),
      "latin1",
    );
    expect(await refused(await npz({ train_images: fortran, train_labels: LABELS }))).toMatch(/Fortran order.*ascontiguousarray/);
    const words: [string, number[], Buffer] = ["<U1", [4], bytes(16)];
    expect(await refused(await npz({ train_images: IMAGES, train_labels: words }))).toMatch(
      /train_labels.*type <U1.*Save numbers/,
    );
    const object = Buffer.concat([npyHeader("|O", [4]), bytes(9)]);
    expect(await refused(await npz({ train_images: IMAGES, train_labels: object }))).toMatch(/values of type \|O/);
    expect(await refused(await npz({ train_images: Buffer.from("GIF89a nothing"), train_labels: LABELS }))).toMatch(
      /no numpy array/,
    );
    expect(await refused(await npz({ train_images: IMAGES, train_labels: LABELS }), { split: "val" })).toMatch(
      /no array val_images/,
    );
    expect(await refused(await npz({ train_images: IMAGES, train_labels: LABELS }), { domain: "center" })).toMatch(
      /train_center/,
    );
  });

  it("loses what stands behind a damaged place", async () => {
    const many: [string, number[], Buffer] = [
      "|u1",
      [40, 64, 64],
      Buffer.from(noise(64, 40 * 64, 1).data.map((one) => one & 15)),
    ];
    const labels: [string, number[], Buffer] = ["|u1", [40], bytes(40)];
    const packed = await npz({ train_labels: labels, train_images: many }, true);
    const changed = readFileSync(packed);
    changed.fill(0xff, 65_000, 65_500);
    writeFileSync(packed, changed);
    const set = await openDataSet(packed);
    expect(await lostKeys(set)).toEqual([]);
    const { keys, lost } = await read(set);
    expect(keys).toEqual(Array.from({ length: 40 }, (_, i) => String(i)));
    // Some rows before the damage have not left the stream when it fails.
    expect(lost.size).toBeGreaterThanOrEqual(9);
    expect(lost.size).toBeLessThan(30);
    expect([...lost.keys()]).toEqual(keys.slice(-lost.size));
    expect(lost.get("39")).toMatch(/set\.npz is damaged: .*Fetch or write it again/);
    const small = await npz({ train_labels: LABELS, train_images: IMAGES }, true);
    const broken = readFileSync(small);
    broken.fill(0xff, 400, 440);
    writeFileSync(small, broken);
    expect(await refused(small)).toMatch(/is damaged: /);
  });

  it("fails at its end where the checksum is another", async () => {
    const file = await npz({ train_labels: LABELS, train_images: IMAGES });
    const changed = readFileSync(file);
    const at = changed.indexOf(IMAGES[2]);
    changed[at + 5]! ^= 1;
    writeFileSync(file, changed);
    await using set = await openDataSet(file);
    const error = await failure((async () => { for await (const _ of set.samples()); })(), "IMAGE"); // biome-ignore format: one call
    expect(error.message).toMatch(/checksum of train_images\.npy is another/);
  });
});

describe("tar shards", () => {
  const member = (path: string, bytes: Uint8Array | string = png) => ({ path, bytes: Buffer.from(bytes) });
  const sample = (key: string) => [member(`${key}.png`), member(`${key}.cls`, "1")];
  const tar = (...members: ReturnType<typeof member>[]) => Buffer.concat([...tarOf(members)]);
  const open = (shards: Record<string, Buffer>, options?: OpenDataSetOptions) => openDataSet(folderOf(shards), options);

  it("are refused where there is nothing, a key comes twice, or one of a range is missing", async () => {
    expect(await refused(folderOf({ "a.tar": tar() }))).toMatch(/no samples in .*Give tars/);
    expect(await refused(folderOf({ "a.tar": tar(...sample("a"), ...sample("b"), member("a.txt", "x")) }))).toMatch(
      /key a twice/,
    );
    const folder = folderOf({ "s-0.tar": tar(...sample("a")) });
    expect(await refused(join(folder, "s-{0..2}.tar"))).toMatch(/no file .*s-1\.tar.*range/);
    expect(await refused(join(folder, "t-*.tar"))).toMatch(/no tar shards/);
    expect(await refused(folder, { split: "val" })).toMatch(/no tar shards of the split val/);
  });

  it("lose samples that lack something, and give the rest", async () => {
    const notes: string[] = [];
    const set = await open(
      {
        "a.tar": tar(
          ...[
            ...sample("a"),
            member("b.cls", "1"),
            member("c.png"),
            ...sample("d"),
            member("d.jpg"),
            ...sample("e"),
            member("e.json", "{"),
          ],
          ...[...sample("../f"), ...sample("g"), member("g.mask.png")],
        ),
      },
      { onNote: (note) => notes.push(note) },
    );
    expect(await lostKeys(set)).toEqual(["b", "c", "d", "../f"]);
    const { keys, lost } = await read(set);
    expect(keys).toEqual(["a", "b", "c", "d", "e", "../f", "g"]);
    expect(Object.fromEntries(lost)).toEqual({
      b: expect.stringMatching(/a\.tar\/b has no image among its members: cls\. Give/),
      c: expect.stringMatching(/a\.tar\/c has no label: there is no \.cls\. Add it/),
      d: expect.stringMatching(/several images among its members: png, cls, jpg/),
      e: expect.stringMatching(/e\.json is no JSON object/),
      "../f": expect.stringMatching(/leads out of the data set/),
    });
    expect(notes).toEqual([]);
  });

  it("that are cut short lose the sample they end in, wherever that is", async () => {
    const whole = tar(...sample("a"), ...sample("b"));
    const second = 512 + Math.ceil(png.length / 512) * 512 + 1024;
    const lost: string[] = [];
    for (const at of [second + 700, second + 200, second, whole.length - 1024 - 512, whole.length - 700]) {
      const set = await open({ "s-0.tar": whole.subarray(0, at), "s-1.tar": tar(...sample("z")) });
      const { keys, lost: some } = await read(set);
      expect(keys).toContain("z");
      for (const message of some.values()) expect(message).toMatch(/s-0\.tar is cut short.*byte \d+\. Fetch/);
      lost.push(`${keys.join(" ")}: ${[...some.keys()]}`);
      expect(await lostKeys(await open({ "s-0.tar": whole.subarray(0, at), "s-1.tar": tar(...sample("z")) }))).toEqual([
        ...some.keys(),
      ]);
    }
    expect(lost).toEqual(["a b z: b", "a z: a", "a z: ", "a b z: b", "a b z: "]);
  });

  it("say that they have no end, and are lost behind a damaged header", async () => {
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    await open({ "a.tar": tar(...sample("a")).subarray(0, -1024) }, { onNote });
    expect(notes).toEqual([expect.stringMatching(/a\.tar has no end: it may be cut short/)]);
    const damaged = tar(...sample("a"), ...sample("b"), ...sample("c"));
    const at = damaged.indexOf("b.png");
    damaged[at] = 0x21;
    const { keys, lost } = await read(await open({ "a.tar": damaged }));
    expect([keys, [...lost.keys()]]).toEqual([["a"], ["a"]]);
    const packed = gzipSync(tar(...sample("a"), ...sample("b")));
    const { lost: some } = await read(await open({ "a.tar.gz": packed.subarray(0, packed.length - 40) }));
    expect([...some.values()]).toEqual([expect.stringMatching(/unexpected end of file.*is cut short/)]);
  });

  it("may have a key in several shards, which their names then tell apart", async () => {
    const { keys } = await read(await open({ "s-0.tar": tar(...sample("a")), "s-1.tar": tar(...sample("a")) }));
    expect(keys).toEqual(["s-0/a", "s-1/a"]);
  });
});

describe("parquet", () => {
  type Column = Parameters<typeof parquetWriteBuffer>[0]["columnData"][number];
  const parquet = (...columnData: Column[]) => Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 2 }));
  const open = (file: Buffer, options?: OpenDataSetOptions) => openDataSet(folderOf({ "data/train-0.parquet": file }), options);
  const image = (...data: unknown[]): Column => ({ name: "image", data, type: "BYTE_ARRAY" });
  const label = (...data: unknown[]): Column => ({ name: "label", data, type: "INT32" });

  it("is refused where it is none, lacks the column or has no rows", async () => {
    expect(await refused(folderOf({ "a.parquet": "PAR1 and nothing else" }))).toMatch(
      /no parquet file, or it is cut short.*Fetch/,
    );
    const words: Column = { name: "image", data: ["a"], type: "STRING" };
    expect(await refused(folderOf({ "a.parquet": parquet(words, label(1)) }))).toMatch(
      /no column of images: .* has the columns image, label\. Name the column/,
    );
    expect(await refused(folderOf({ "a.parquet": parquet(image(), label()) }))).toMatch(/no rows/);
    const files = { "a.parquet": parquet(image(png), label(1)), "b.parquet": parquet(image(png)) };
    expect(await refused(folderOf(files))).toMatch(/b\.parquet has other columns than .*a\.parquet/);
    expect(await refused(folderOf({ "a.parquet": parquet(image(png), label(1)) }), { domain: "center" })).toMatch(
      /no column "center"/,
    );
  });

  it("loses rows without an image or a label, and row groups that are damaged", async () => {
    const { keys, lost } = await read(await open(parquet(image(png, null, png), label(0, 1, null))));
    expect(keys).toEqual(["train-0/0", "train-0/1", "train-0/2"]);
    expect([...lost]).toEqual([
      ["train-0/1", expect.stringMatching(/no bytes in "image"/)],
      ["train-0/2", expect.stringMatching(/no label in "label"/)],
    ]);
    const damaged = parquet(image(png, png, png), label(0, 1, 2));
    damaged.fill(0xff, 4, 40);
    const { lost: some } = await read(await open(damaged));
    expect([...some.keys()]).toEqual(["train-0/0", "train-0/1"]);
    expect(some.get("train-0/0")).toMatch(/train-0\.parquet is damaged: /);
  });
});

describe("a writer", () => {
  it("of npz refuses images of several sizes, with nothing half-written", async () => {
    const small = await encodeImage(noise(4, 4, 3), { format: "png" });
    await using set = await openDataSet(folderOf({ "a/1.png": png, "b/2.png": small }));
    const out = join(root, "sizes");
    for (const size of [100, 2]) {
      await using writer = await createWriter("npz", out, { like: set });
      const error = await failure(writeAll(set, writer, size), "ARGUMENT");
      expect(error.message).toMatch(/one size, and b\/2\.png is 4 × 4 where others are 8 × 8\. Scale/);
    }
    expect(() => statSync(join(out, "data.npz"))).toThrow(/ENOENT/);
  });

  it("says which group is missing, and where it cannot write", async () => {
    await using set = await openDataSet(folderOf(images("a/1.png", "b/2.png")));
    for (const format of ["csv", "hf", "npz"] as const) {
      await using writer = await createWriter(format, join(root, `missing ${format}`), { like: set });
      const error = await failure(writer.finish(2), "OUTPUT");
      expect(error.message).toMatch(/group 0 of 2 is missing\. Write that group again/);
    }
    const file = join(folderOf({ out: "a file" }), "out");
    for (const format of ["folder", "wds", "parquet"] as const) {
      expect((await failure(createWriter(format, file, { like: set }), "OUTPUT")).message).toMatch(
        /a file stands where a folder/,
      );
    }
  });
});
