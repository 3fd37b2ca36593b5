import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { floats, safetensorsBytes, temporaryFolder } from "./files.js";

async function fileWith(bytes: Uint8Array | string, name = "weights.safetensors"): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, bytes);
  return path;
}

async function refusal(path: string): Promise<StylizingError> {
  const error = await SafetensorsFile.open(path).then(
    (file) => file.close(),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(StylizingError);
  expect(error).toMatchObject({ code: "CHECKPOINT", fix: expect.stringMatching(/\w/) });
  expect((error as StylizingError).message).toContain(path);
  return error as StylizingError;
}

const A = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
const B = { dtype: "F32", shape: [1], data_offsets: [8, 12] };

describe("reading", () => {
  it("reads tensors one at a time, in any order of the data, aligned or not", async () => {
    const header = { __metadata__: { format: "pt" }, b: B, a: A, none: { dtype: "F32", shape: [0, 3], data_offsets: [8, 8] } };
    const path = await fileWith(safetensorsBytes(header, floats(1, 2, 3)));
    await using file = await SafetensorsFile.open(path);
    expect([...file.tensors.keys()]).toEqual(["b", "a", "none"]);
    expect(file.tensors.get("a")).toEqual({ name: "a", dtype: "F32", shape: [2], begin: 0, end: 8 });
    expect([...file.metadata]).toEqual([["format", "pt"]]);
    expect(await file.read("a")).toEqual(Float32Array.of(1, 2));
    expect(await file.read("b")).toEqual(Float32Array.of(3));
    expect(await file.read("none")).toEqual(new Float32Array(0));
    expect(await Promise.all([file.read("b"), file.read("a")])).toEqual([Float32Array.of(3), Float32Array.of(1, 2)]);
  });

  it("widens F16 and BF16", async () => {
    const header = {
      half: { dtype: "F16", shape: [2], data_offsets: [0, 4] },
      brain: { dtype: "BF16", shape: [2], data_offsets: [4, 8] },
    };
    const path = await fileWith(safetensorsBytes(header, new Uint8Array(Uint16Array.of(0x3c00, 0xc100, 0x3f80, 0xc020).buffer)));
    await using file = await SafetensorsFile.open(path);
    expect(await file.read("half")).toEqual(Float32Array.of(1, -2.5));
    expect(await file.read("brain")).toEqual(Float32Array.of(1, -2.5));
  });

  it("opens a file with other dtypes but does not read them as floats", async () => {
    const path = await fileWith(
      safetensorsBytes(
        { steps: { dtype: "I64", shape: [], data_offsets: [0, 8] }, tiny: { dtype: "F4", shape: [3, 2], data_offsets: [8, 11] } },
        new Uint8Array(11),
      ),
    );
    await using file = await SafetensorsFile.open(path);
    await expect(file.read("steps")).rejects.toMatchObject({
      code: "CHECKPOINT",
      message: expect.stringMatching(/steps as I64/),
    });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "refuses %d in a weight unless told otherwise",
    async (value) => {
      const path = await fileWith(safetensorsBytes({ a: A }, floats(1, value)));
      await using file = await SafetensorsFile.open(path);
      await expect(file.read("a")).rejects.toMatchObject({
        code: "CHECKPOINT",
        message: expect.stringContaining(`${value} in a, element 1`),
      });
      expect(await file.read("a", { finite: false })).toEqual(Float32Array.of(1, value));
    },
  );

  it("says which tensor is missing, that it was closed, and that the file shrank", async () => {
    const path = await fileWith(safetensorsBytes({ a: A }, floats(1, 2)));
    const file = await SafetensorsFile.open(path);
    await expect(file.read("nothing")).rejects.toMatchObject({ code: "CHECKPOINT", message: expect.stringContaining("nothing") });
    await truncate(path, (await readFile(path)).length - 1);
    await expect(file.read("a")).rejects.toMatchObject({ code: "CHECKPOINT" });
    await file.close();
    await file.close();
    await expect(file.read("a")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("accepts tensors called like properties of objects", async () => {
    const path = await fileWith(
      safetensorsBytes(`{"__proto__":${JSON.stringify(A)},"constructor":${JSON.stringify(B)}}`, floats(1, 2, 3)),
    );
    await using file = await SafetensorsFile.open(path);
    expect(await file.read("__proto__")).toEqual(Float32Array.of(1, 2));
    await expect(file.read("toString")).rejects.toMatchObject({ code: "CHECKPOINT" });
  });
});

describe("refusing", () => {
  it("a missing file, a folder, an empty file", async () => {
    const folder = await temporaryFolder();
    expect((await refusal(join(folder, "none.safetensors"))).message).toMatch(/does not exist/);
    await mkdir(join(folder, "sub.safetensors"));
    expect((await refusal(join(folder, "sub.safetensors"))).message).toMatch(/is a folder/);
    expect((await refusal(await fileWith(""))).message).toMatch(/is empty/);
    await refusal(join(await fileWith("x"), "below-a-file.safetensors"));
  });

  it.skipIf(process.platform === "win32")("a named pipe, without waiting for a writer", async () => {
    const path = join(await temporaryFolder(), "pipe.safetensors");
    execFileSync("mkfifo", [path]);
    expect((await refusal(path)).message).toMatch(/not a file/);
  });

  const twice = `{"a":${JSON.stringify(A)},"\\u0061":${JSON.stringify(A)}}`;
  const entry = (change: Record<string, unknown>) => ({ a: { ...A, ...change } });
  it.each<[string, Uint8Array, RegExp]>([
    ["7 bytes", new Uint8Array(7).fill(1), /cut off after 7 bytes/],
    ["a header beyond the file", safetensorsBytes("{}", undefined, 3n), /cut off/],
    ["a header over 100 MB", safetensorsBytes("{}", undefined, 100_000_001n), /not a safetensors/],
    ["a header of 2^64-1 bytes", safetensorsBytes("{}", undefined, 2n ** 64n - 1n), /not a safetensors/],
    ["an empty header", safetensorsBytes(""), /not a safetensors/],
    ["a header that is not JSON", safetensorsBytes("{]"), /not JSON/],
    ["a header that is not UTF-8", safetensorsBytes({ "?": A }, floats(1, 2)).map((b) => (b === 63 ? 0xff : b)), /not JSON/],
    ["a header that is a list", safetensorsBytes("[]"), /not a safetensors/],
    ["text after the header's object", safetensorsBytes("{} {}"), /not JSON/],
    ["metadata that is not strings", safetensorsBytes({ __metadata__: { a: 1 } }), /__metadata__/],
    ["metadata that is a number", safetensorsBytes({ __metadata__: 1 }), /__metadata__/],
    ["a key twice", safetensorsBytes(twice, floats(1, 2)), /has a twice/],
    [
      "a field twice",
      safetensorsBytes(`{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}`, floats(1, 2)),
      /shape twice/,
    ],
    ["an entry that is not an object", safetensorsBytes({ a: [0] }), /tensor a .*not an object/],
    ["no dtype", safetensorsBytes(entry({ dtype: undefined }), floats(1, 2)), /tensor a .*no dtype/],
    ["an unknown dtype", safetensorsBytes(entry({ dtype: "F31" }), floats(1, 2)), /unknown dtype F31/],
    ["a dtype called like a method", safetensorsBytes(entry({ dtype: "toString" }), floats(1, 2)), /unknown dtype/],
    ["no shape", safetensorsBytes(entry({ shape: undefined }), floats(1, 2)), /tensor a .*shape/],
    ["a negative size", safetensorsBytes(entry({ shape: [-2] }), floats(1, 2)), /shape/],
    ["a fractional size", safetensorsBytes(entry({ shape: [0.5, 4] }), floats(1, 2)), /shape/],
    ["a size that is a string", safetensorsBytes(entry({ shape: ["2"] }), floats(1, 2)), /shape/],
    ["a size beyond safe integers", safetensorsBytes(entry({ shape: [2 ** 53] }), floats(1, 2)), /shape/],
    ["a product beyond safe integers", safetensorsBytes(entry({ shape: [2 ** 40, 2 ** 40] }), floats(1, 2)), /too large/],
    ["no offsets", safetensorsBytes(entry({ data_offsets: undefined }), floats(1, 2)), /data_offsets/],
    ["three offsets", safetensorsBytes(entry({ data_offsets: [0, 8, 8] }), floats(1, 2)), /data_offsets/],
    ["a negative offset", safetensorsBytes(entry({ data_offsets: [-8, 0] }), floats(1, 2)), /data_offsets/],
    ["an end before the beginning", safetensorsBytes(entry({ data_offsets: [8, 0] }), floats(1, 2)), /begins at 8/],
    ["a tensor beyond the data", safetensorsBytes({ a: A }, floats(1)), /file has only 4/],
    ["fewer bytes than the shape needs", safetensorsBytes(entry({ shape: [3] }), floats(1, 2)), /8 bytes for F32 \[3\]/],
    ["half a byte", safetensorsBytes({ a: { dtype: "F4", shape: [1], data_offsets: [0, 0] } }), /bytes for F4/],
    ["overlapping tensors", safetensorsBytes({ a: A, b: { ...B, data_offsets: [4, 8] } }, floats(1, 2)), /b overlapping/],
    ["a hole", safetensorsBytes({ a: A, b: { ...B, data_offsets: [12, 16] } }, floats(1, 2, 3, 4)), /4 unused bytes before b/],
    ["trailing bytes", safetensorsBytes({ a: A }, floats(1, 2, 3)), /4 bytes after its last tensor/],
    ["data without tensors", safetensorsBytes({}, floats(1)), /4 bytes after/],
    ["a Git LFS pointer", new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), /git lfs pull/],
    ["a web page", new TextEncoder().encode("<!doctype html><html></html>"), /web page/],
  ])("%s", async (_, bytes, message) => {
    expect((await refusal(await fileWith(bytes))).message).toMatch(message);
  });

  it("keeps messages short however long a name is", async () => {
    const path = await fileWith(
      safetensorsBytes({ ["x".repeat(100_000)]: { ...A, shape: Array(10_000).fill(1) } }, floats(1, 2)),
    );
    expect((await refusal(path)).message.length).toBeLessThan(800);
  });

  it.each<[string, Uint8Array]>([
    ["model.pth", safetensorsBytes({})],
    ["MODEL.PT", safetensorsBytes({})],
    ["pytorch_model.bin", floats(1, 2)],
    ["last.ckpt", floats(1, 2)],
    ["zip.safetensors", Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0)],
    ["pickle.safetensors", Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9)],
  ])("a pickle (%s), with the Python that converts it", async (name, bytes) => {
    const { message } = await refusal(await fileWith(bytes, name));
    expect(message).toMatch(/\nimport torch; from safetensors.torch import save_file\n/);
    expect(message).toMatch(/torch\.load\(".*", map_location="cpu", weights_only=True\)\n/);
    expect(message).toMatch(/save_file\(\{k: v\.contiguous\(\) for k, v in state\.items\(\)\}, ".*\.safetensors"\)/);
  });

  it("does not mistake a header of 128 or 19280 bytes for a pickle or a zip file", async () => {
    for (const length of [0x80, 0x280, 0x4b50]) {
      const path = await fileWith(safetensorsBytes("{}".padEnd(length)));
      await (await SafetensorsFile.open(path)).close();
    }
  });
});

describe("writing", () => {
  it("writes what is read back, in F32 with the same bits", async () => {
    const path = join(await temporaryFolder(), "out.safetensors");
    const a = Float32Array.of(1.5, -0, 3.4e38, 1e-45, Number.NaN, 0.1);
    await writeSafetensors(
      path,
      [
        ["a", { shape: [2, 3], data: a }],
        ["scalar", { shape: [], data: Float32Array.of(7) }],
        ["empty", { shape: [0, 4], data: new Float32Array(0) }],
        ["view", { shape: [2], data: async () => Float32Array.of(9, 1, 2, 9).subarray(1, 3) }],
      ],
      { metadata: { made: "here" } },
    );
    const bytes = await readFile(path);
    expect(Number(bytes.readBigUInt64LE(0)) % 8).toBe(0);
    await using file = await SafetensorsFile.open(path);
    expect(file.metadata.get("made")).toBe("here");
    expect(file.tensors.get("a")!.shape).toEqual([2, 3]);
    expect(new Uint32Array((await file.read("a", { finite: false })).buffer)).toEqual(new Uint32Array(a.buffer));
    expect(await file.read("scalar")).toEqual(Float32Array.of(7));
    expect(await file.read("empty")).toEqual(new Float32Array(0));
    expect(await file.read("view")).toEqual(Float32Array.of(1, 2));
  });

  it("writes F16, and nothing at all", async () => {
    const path = join(await temporaryFolder(), "out.safetensors");
    await writeSafetensors(path, [["a", { shape: [3], data: Float32Array.of(1, 0.1, 1e-8) }]], { dtype: "F16" });
    const file = await SafetensorsFile.open(path);
    expect(file.tensors.get("a")).toMatchObject({ dtype: "F16", begin: 0, end: 6 });
    expect(await file.read("a")).toEqual(Float32Array.of(1, 0.0999755859375, 0));
    await file.close();
    await writeSafetensors(path, []); // replaces what was there
    await using empty = await SafetensorsFile.open(path);
    expect(empty.tensors.size).toBe(0);
  });

  it("leaves the target as it was, and nothing beside it, when a tensor cannot be made", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "out.safetensors");
    await writeFile(path, "before");
    const good = { shape: [1], data: Float32Array.of(1) };
    const failure = new Error("no more");
    const iterator = async function* () {
      yield ["a", good] as const;
      throw failure;
    };
    await expect(writeSafetensors(path, iterator())).rejects.toBe(failure);
    let seen: string[] = [];
    const data = async (): Promise<Float32Array> => {
      seen = await readdir(folder);
      throw failure;
    };
    await expect(
      writeSafetensors(path, [
        ["a", good],
        ["b", { shape: [1], data }],
      ]),
    ).rejects.toBe(failure);
    expect(seen).toContainEqual(expect.stringMatching(/^out\.safetensors\.\d+\.[0-9a-f]+\.partial$/));
    expect(await readdir(folder)).toEqual(["out.safetensors"]);
    expect(await readFile(path, "utf8")).toBe("before");
  });

  it("refuses data that does not fit its shape, and names used twice", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "out.safetensors");
    const data = Float32Array.of(1, 2);
    const wrong: [string, { shape: number[]; data: Float32Array }][][] = [
      [["a", { shape: [3], data }]],
      [["a", { shape: [-2], data }]],
      [["__metadata__", { shape: [2], data }]],
      [
        ["a", { shape: [2], data }],
        ["a", { shape: [2], data }],
      ],
    ];
    for (const tensors of wrong) await expect(writeSafetensors(path, tensors)).rejects.toMatchObject({ code: "ARGUMENT" });
    expect(await readdir(folder)).toEqual([]);
  });

  it("says OUTPUT when there is no folder, or a folder in the way", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "taken"));
    for (const path of [join(folder, "none", "out.safetensors"), join(folder, "taken")]) {
      await expect(writeSafetensors(path, [])).rejects.toMatchObject({ code: "OUTPUT", message: expect.stringContaining(path) });
    }
    expect(await readdir(folder)).toEqual(["taken"]);
  });
});
