// What a test cannot bring about on an ordinary disk: no space, at any byte of any file.
import { readdirSync, readFileSync } from "node:fs";
import { beforeAll, expect, it, vi } from "vitest";
import { Trainer } from "../../src/train/trainer.js";
import { fakeHost } from "./fake-host.mjs";
import { follow, newRun, options, outcome, readLog, readTensors, writeImages } from "./runs.js";

const disk = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const fs = await importOriginal<typeof import("node:fs/promises")>();
  const full = () => Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  return {
    ...fs,
    async open(...args: Parameters<typeof fs.open>) {
      const handle = await fs.open(...args);
      const write = handle.write.bind(handle) as (b: Uint8Array, o: number, l: number) => Promise<{ bytesWritten: number }>;
      // A disk fills up in the middle of a write: first a short count, then the error.
      handle.write = (async (bytes: Uint8Array, offset: number, length: number) => {
        if (disk.left === 0) throw full();
        const result = await write(bytes, offset, Math.min(length, disk.left));
        disk.left -= result.bytesWritten;
        return result;
      }) as typeof handle.write;
      const writeFile = handle.writeFile.bind(handle);
      handle.writeFile = (async (bytes: Uint8Array | string) => {
        if (bytes.length > disk.left) {
          await writeFile(bytes.slice(0, disk.left));
          disk.left = 0;
          throw full();
        }
        await writeFile(bytes);
        disk.left -= bytes.length;
      }) as typeof handle.writeFile;
      return handle;
    },
  };
});

beforeAll(async () => {
  await writeImages("training", 14);
  await writeImages("judging", 7);
});

it("a full disk ends the run with what it is, keeps the state before it, and the run can be resumed", async () => {
  const unbroken = newRun();
  const given = { epochs: 2 };
  {
    await using trainer = await Trainer.create(options(unbroken, given), fakeHost());
    await follow(trainer);
  }
  const expected = await outcome(unbroken);
  const state = readFileSync(`${unbroken}/last.safetensors`).length;
  // Amid the first state, a later one, the best model, and what is written after an epoch's state.
  const model = readFileSync(`${unbroken}/model.safetensors`).length;
  const small = 2000;
  for (const [left, begun] of [
    [state / 2, false],
    [2 * state + small, true],
    [4 * state + small + model / 2, true],
    [4 * state + small + model + 100, true],
    [5 * state + model + small, true],
  ] as const) {
    const out = newRun();
    disk.left = Math.round(left);
    const run = async () => {
      await using trainer = await Trainer.create(options(out, given), fakeHost());
      await follow(trainer);
    };
    await expect(run()).rejects.toMatchObject({ code: "OUTPUT", message: expect.stringMatching(/disk is full/) });
    disk.left = Number.POSITIVE_INFINITY;
    const files = readdirSync(out);
    expect(files.filter((name) => name.endsWith(".partial"))).toEqual([]);
    expect(files.includes("last.safetensors")).toBe(begun);
    for (const name of files) if (name.endsWith(".safetensors")) await readTensors(`${out}/${name}`);
    if (begun) readLog(out);
    await using again = await Trainer.create(options(out, { ...given, resume: true }), fakeHost());
    expect(again.report.resumed !== undefined).toBe(begun);
    await follow(again);
    expect(await outcome(out)).toEqual(expected);
  }
});
