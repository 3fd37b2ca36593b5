import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { afterEach, describe, expect, it, vi } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { ensureOutputFolder, outputError, writeFileAtomic } from "../../src/image/atomic-write.js";
import { encodeImage, type OutputFormat, saveImage } from "../../src/image/encode.js";
import { failure, gradient, largestDifference, noise, temporaryFolder } from "./helpers.js";

const disk = vi.hoisted(() => ({ full: false }));
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const open: typeof real.open = async (...args) => {
    const handle = await real.open(...args);
    if (disk.full) {
      handle.writeFile = () =>
        Promise.reject(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }));
    }
    return handle;
  };
  return { ...real, open };
});

const folder = temporaryFolder();
const original = gradient(40, 30);
const leftovers = (): string[] => readdirSync(folder).filter((name) => name.endsWith(".partial"));
afterEach(() => {
  disk.full = false;
  expect(leftovers()).toEqual([]);
});

describe("saveImage", () => {
  it.each([
    ["png", 0],
    ["jpeg", 6],
    ["webp", 12],
  ] as const)("%s comes back within %i levels, colour and grey", async (format, bound) => {
    for (const image of [original, { ...original, data: original.data.subarray(0, 1200), channels: 1 as const }]) {
      const name = path.join(folder, `out.${format}`);
      await saveImage(name, image, { format });
      const header = await sharp(name).metadata();
      expect(header).toMatchObject({ format, width: 40, height: 30 });
      if (format === "jpeg" && image.channels === 3) expect(header.chromaSubsampling).toBe("4:4:4");
      if (format === "png") expect([header.channels, header.isPalette]).toEqual([image.channels, false]);
      const back = await sharp(readFileSync(name))
        .toColourspace(image.channels === 1 ? "b-w" : "srgb")
        .raw()
        .toBuffer();
      expect(largestDifference(back, image.data)).toBeLessThanOrEqual(image.channels === 1 && format !== "png" ? 255 : bound);
    }
  });

  it("obeys the quality, and refuses what cannot be", async () => {
    const busy = noise(64, 64, 3);
    const size = async (quality: number): Promise<number> => (await encodeImage(busy, { format: "jpeg", quality })).length;
    expect(await size(40)).toBeLessThan(await size(95));
    expect(
      (
        await sharp(await encodeImage(busy, { format: "png", quality: 40 }))
          .raw()
          .toBuffer()
      ).equals(busy.data),
    ).toBe(true);
    for (const quality of [0, 101, 9.5]) await failure(encodeImage(busy, { format: "jpeg", quality }), "ARGUMENT");
    await failure(encodeImage(busy, { format: "bmp" as OutputFormat }), "ARGUMENT");
    await failure(encodeImage({ ...busy, width: 63 }, { format: "png" }), "ARGUMENT");
    await failure(
      encodeImage({ data: new Uint8Array(17000), width: 17000, height: 1, channels: 1 }, { format: "webp" }),
      "OUTPUT",
    );
  });
});

describe("writeFileAtomic", () => {
  it("writes, replaces and follows links", async () => {
    const name = path.join(folder, "a.txt");
    await writeFileAtomic(name, "one");
    await writeFileAtomic(name, new Uint8Array([116, 119, 111]));
    expect(readFileSync(name, "utf8")).toBe("two");
    const link = path.join(folder, "link.txt");
    symlinkSync(name, link);
    await writeFileAtomic(link, "three");
    expect(readFileSync(name, "utf8")).toBe("three");
    await writeFileAtomic(path.join(folder, `${"x".repeat(250)}.txt`), "a long name");
  });

  it("leaves the target as it was when the disk is full", async () => {
    const name = path.join(folder, "kept.png");
    writeFileSync(name, "before");
    disk.full = true;
    expect((await failure(saveImage(name, original, { format: "png" }), "OUTPUT")).message).toMatch(
      /kept\.png.*the disk is full/,
    );
    expect(readFileSync(name, "utf8")).toBe("before");
  });

  it("takes pieces, and nothing of them stays when the giver fails", async () => {
    const name = path.join(folder, "pieces.txt");
    const failed = new StylizingError("CHECKPOINT", "No more.", "Give more.");
    async function* pieces(error?: Error) {
      yield new Uint8Array([97, 98]);
      yield new Uint8Array(0);
      if (error) throw error;
      yield new Uint8Array([99]);
    }
    await writeFileAtomic(name, pieces());
    await expect(writeFileAtomic(name, pieces(failed))).rejects.toBe(failed);
    expect(readFileSync(name, "utf8")).toBe("abc");
  });

  it("says what is in the way", async () => {
    mkdirSync(path.join(folder, "dir.png"));
    const plain = path.join(folder, "plain");
    writeFileSync(plain, "");
    for (const [target, words] of [
      [path.join(folder, "none", "a.png"), /there is no folder .*none/],
      [path.join(folder, "dir.png"), /it is a folder/],
      [path.join(plain, "a.png"), /a file stands where a folder should be/],
      [path.join(folder, `${"y".repeat(300)}.png`), /the name is too long/],
    ] as const) {
      expect((await failure(writeFileAtomic(target, "x"), "OUTPUT")).message).toMatch(words);
    }
  });

  it.skipIf(process.platform !== "linux")("refuses devices, and folders nobody can write in", async () => {
    expect((await failure(writeFileAtomic("/dev/full", "x"), "OUTPUT")).message).toContain("device");
    await failure(writeFileAtomic("/proc/a.png", "x"), "OUTPUT");
  });

  it.each(["EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EIO"])("has words for %s", (code) => {
    const error = outputError("a.png", Object.assign(new Error(`${code}: native words`), { code }));
    expect(error).toMatchObject({ code: "OUTPUT" });
    expect(error.message.includes("native words")).toBe(code === "EIO");
  });
});

describe("ensureOutputFolder", () => {
  it("creates with parents, accepts what exists and leaves nothing in it", async () => {
    const deep = path.join(folder, "p", "q", "r");
    await ensureOutputFolder(deep);
    await ensureOutputFolder(deep);
    expect(readdirSync(deep)).toEqual([]);
  });

  it("fails early", async () => {
    const plain = path.join(folder, "file-in-the-way");
    writeFileSync(plain, "");
    for (const target of [plain, path.join(plain, "below")]) {
      expect((await failure(ensureOutputFolder(target), "OUTPUT")).message).toContain("a file stands where a folder should be");
    }
    if (existsSync("/proc/self")) await failure(ensureOutputFolder("/proc/results"), "OUTPUT");
  });
});
