// What a test cannot bring about on an ordinary disk: no space, no symbolic links.
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { temporaryFolder } from "./files.js";
import { HubServer } from "./hub-server.js";
import { downloadCheckpoint } from "./published.js";

const faults = vi.hoisted(() => ({ writable: Number.POSITIVE_INFINITY, links: true }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const fs = await importOriginal<typeof import("node:fs/promises")>();
  return {
    ...fs,
    async open(...args: Parameters<typeof fs.open>) {
      const handle = await fs.open(...args);
      const write = handle.write.bind(handle) as (
        b: Uint8Array,
        o: number,
        l: number,
        p?: number,
      ) => Promise<{ bytesWritten: number }>;
      // A disk fills up in the middle of a write: first a short count, then the error.
      handle.write = (async (bytes: Uint8Array, offset: number, length: number, position?: number) => {
        if (faults.writable === 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        const result = await write(bytes, offset, Math.min(length, faults.writable), position);
        faults.writable -= result.bytesWritten;
        return result;
      }) as typeof handle.write;
      return handle;
    },
    async symlink(...args: Parameters<typeof fs.symlink>) {
      if (!faults.links) throw Object.assign(new Error("EPERM: operation not permitted, symlink"), { code: "EPERM" });
      return fs.symlink(...args);
    },
  };
});

afterEach(() => {
  faults.writable = Number.POSITIVE_INFINITY;
  faults.links = true;
});

it("writes a file not at all when the disk is full", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "out.safetensors");
  await writeFile(path, "before");
  faults.writable = 100;
  const tensors = [["a", { shape: [1000], data: new Float32Array(1000) }]] as const;
  await expect(writeSafetensors(path, tensors)).rejects.toMatchObject({
    code: "OUTPUT",
    message: expect.stringMatching(/ENOSPC.*disk is full/),
  });
  expect(await readdir(folder)).toEqual(["out.safetensors"]);
  expect(await readFile(path, "utf8")).toBe("before");
});

it("keeps a download that did not fit, and continues it when there is space", async () => {
  const cacheDir = await temporaryFolder();
  await using hub = await HubServer.start();
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
  hub.files.set("model.safetensors", { bytes, lfs: true });
  const options = { cacheDir, endpoint: hub.url, retryDelay: 1 };
  faults.writable = 200_000;
  await expect(downloadCheckpoint("tiny/epistr", options)).rejects.toMatchObject({
    code: "DOWNLOAD",
    message: expect.stringMatching(/ENOSPC.*Free some space/),
  });
  expect(hub.downloads()).toHaveLength(1);
  faults.writable = Number.POSITIVE_INFINITY;
  await downloadCheckpoint("tiny/epistr", options);
  expect(hub.downloads().at(-1)!.range).toBe("bytes=200000-");
});

it("copies blobs where links are not allowed", async () => {
  const cacheDir = await temporaryFolder();
  await using hub = await HubServer.start();
  const bytes = Uint8Array.of(1, 2, 3);
  hub.files.set("model.safetensors", { bytes, lfs: true });
  faults.links = false;
  const { folder } = await downloadCheckpoint("tiny/epistr", { cacheDir, endpoint: hub.url });
  const file = join(folder, "model.safetensors");
  expect((await lstat(file)).isFile()).toBe(true);
  expect(
    createHash("sha256")
      .update(await readFile(file))
      .digest("hex"),
  ).toBe(createHash("sha256").update(bytes).digest("hex"));
});
