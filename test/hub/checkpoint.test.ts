import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { temporaryFolder } from "./files.js";

/** Writes tensors of one value each. */
function save(path: string, tensors: Record<string, number>): Promise<void> {
  return writeSafetensors(
    path,
    Object.entries(tensors).map(([name, value]) => [name, { shape: [1], data: Float32Array.of(value) }] as const),
  );
}

function saveIndex(folder: string, weightMap: unknown): Promise<void> {
  return writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

async function values(checkpoint: Checkpoint): Promise<Record<string, number>> {
  const out: Record<string, number> = {};
  for (const key of checkpoint.shapes.keys()) out[key] = (await checkpoint.read(key))[0]!;
  return out;
}

const refused = (message: RegExp) => ({ code: "CHECKPOINT", message: expect.stringMatching(message) });

describe("a single file", () => {
  it("is read by published keys", async () => {
    const path = join(await temporaryFolder(), "weights.safetensors");
    await save(path, { "encoder.cls_token": 1, "post_process_conv.weight": 2 });
    await using checkpoint = await Checkpoint.open(path);
    expect(checkpoint).toMatchObject({ label: path, config: undefined, configText: undefined });
    expect([...checkpoint.shapes]).toEqual([
      ["encoder.cls_token", [1]],
      ["post_process_conv.weight", [1]],
    ]);
    expect(await values(checkpoint)).toEqual({ "encoder.cls_token": 1, "post_process_conv.weight": 2 });
    await expect(checkpoint.read("encoder.norm.bias")).rejects.toMatchObject(refused(/no tensor encoder\.norm\.bias/));
    await checkpoint.close();
    await expect(checkpoint.read("encoder.cls_token")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("loses the prefix module. and the perceptual network", async () => {
    const path = join(await temporaryFolder(), "weights.safetensors");
    await save(path, {
      "module.a": 1,
      "module.vgg_encoder.features_0.weight": 2,
      "vgg_encoder.features_0.bias": 3,
      "module.module.b": 4,
      c: 5,
    });
    await using checkpoint = await Checkpoint.open(path);
    expect(await values(checkpoint)).toEqual({ a: 1, b: 4, c: 5 });
  });

  it("is refused when two tensors become one key, when it is missing and when it is a pickle", async () => {
    const folder = await temporaryFolder();
    await save(join(folder, "both.safetensors"), { a: 1, "module.a": 2 });
    await expect(Checkpoint.open(join(folder, "both.safetensors"))).rejects.toMatchObject(refused(/both a and module\.a/));
    await expect(Checkpoint.open(join(folder, "none.safetensors"))).rejects.toMatchObject(refused(/does not exist/));
    await writeFile(join(folder, "model.pth"), "PK");
    await expect(Checkpoint.open(join(folder, "model.pth"))).rejects.toMatchObject(refused(/weights_only=True/));
  });
});

describe("opened again", () => {
  it("it keeps its header, after it was closed too, and reads as before", async () => {
    const folder = await temporaryFolder();
    await save(join(folder, "one.safetensors"), { a: 1, "module.b": 2 });
    await save(join(folder, "two.safetensors"), { c: 3 });
    await saveIndex(folder, { a: "one.safetensors", "module.b": "one.safetensors", c: "two.safetensors" });
    await writeFile(join(folder, "config.json"), '{ "depth": 2 }');
    const first = await Checkpoint.open(folder);
    const parsed = vi.spyOn(SafetensorsFile, "open");
    await using second = await first.reopen();
    await first.close();
    expect(await values(second)).toEqual({ a: 1, b: 2, c: 3 });
    await using third = await first.reopen();
    expect(await values(third)).toEqual({ a: 1, b: 2, c: 3 });
    expect(third).toMatchObject({ label: folder, config: { depth: 2 }, configText: '{ "depth": 2 }' });
    expect(parsed).not.toHaveBeenCalled();
    parsed.mockRestore();
  });

  it("a file that was replaced meanwhile is read anew, and one that is gone is an error", async () => {
    const path = join(await temporaryFolder(), "weights.safetensors");
    await save(path, { a: 1 });
    const first = await Checkpoint.open(path);
    await first.close();
    await save(path, { other: 4, a: 2 });
    await using second = await first.reopen();
    expect(await values(second)).toEqual({ other: 4, a: 2 });
    // As long as before, and written in its place.
    const mtime = new Date((await stat(path)).mtimeMs + 10);
    await writeFile(path, await readFile(path));
    await utimes(path, mtime, mtime);
    const parsed = vi.spyOn(SafetensorsFile, "open");
    await using third = await second.reopen();
    expect(parsed).toHaveBeenCalled();
    parsed.mockRestore();
    expect(await values(third)).toEqual({ other: 4, a: 2 });
    await rm(path);
    await expect(first.reopen()).rejects.toMatchObject(refused(/does not exist/));
  });
});

describe("a folder", () => {
  it("prefers model.safetensors and carries config.json", async () => {
    const folder = await temporaryFolder();
    await save(join(folder, "model.safetensors"), { a: 1 });
    await saveIndex(folder, { a: "missing.safetensors" });
    await writeFile(join(folder, "config.json"), '\uFEFF{ "num_heads": 3 }');
    await using checkpoint = await Checkpoint.open(folder);
    expect(checkpoint).toMatchObject({ label: folder, config: { num_heads: 3 }, configPath: join(folder, "config.json") });
    expect(checkpoint.configText).toContain("num_heads");
    expect(await values(checkpoint)).toEqual({ a: 1 });
  });

  it("is refused without weights, and with a configuration that is not JSON", async () => {
    const folder = await temporaryFolder();
    await expect(Checkpoint.open(folder)).rejects.toMatchObject(refused(/neither model\.safetensors nor/));
    await save(join(folder, "model.safetensors"), { a: 1 });
    await writeFile(join(folder, "config.json"), "{");
    await expect(Checkpoint.open(folder)).rejects.toMatchObject({
      code: "CONFIG",
      message: expect.stringContaining("config.json"),
    });
    const other = await temporaryFolder();
    await save(join(other, "model.safetensors"), { a: 1 });
    await mkdir(join(other, "config.json"));
    await expect(Checkpoint.open(other)).rejects.toMatchObject({ code: "CONFIG" });
  });
});

describe("shards", () => {
  it("are found through the index, named or in its folder", async () => {
    const folder = await temporaryFolder();
    await save(join(folder, "model-00001-of-00002.safetensors"), { "module.a": 1, "module.vgg_encoder.x": 2, unlisted: 9 });
    await save(join(folder, "model-00002-of-00002.safetensors"), { "module.b": 3 });
    await saveIndex(folder, {
      "module.a": "model-00001-of-00002.safetensors",
      "module.vgg_encoder.x": "model-00001-of-00002.safetensors",
      "module.b": "model-00002-of-00002.safetensors",
    });
    for (const path of [folder, join(folder, "model.safetensors.index.json")]) {
      await using checkpoint = await Checkpoint.open(path);
      expect(checkpoint.label).toBe(path);
      expect(await values(checkpoint)).toEqual({ a: 1, b: 3 });
    }
  });

  it("are refused when one is missing or lacks what the index says", async () => {
    const folder = await temporaryFolder();
    await save(join(folder, "one.safetensors"), { a: 1 });
    await saveIndex(folder, { a: "one.safetensors", b: "two.safetensors" });
    await expect(Checkpoint.open(folder)).rejects.toMatchObject(refused(/two\.safetensors does not exist/));
    await saveIndex(folder, { a: "one.safetensors", b: "one.safetensors" });
    await expect(Checkpoint.open(folder)).rejects.toMatchObject(refused(/places b in one\.safetensors/));
  });

  it.each([
    "../one.safetensors",
    "/etc/one.safetensors",
    "sub/one.safetensors",
    "..\\one.safetensors",
    "c:one.safetensors",
    "one.bin",
    "..",
    "",
    1,
  ])("are refused outside the folder or of another kind: %j", async (shard) => {
    const folder = await temporaryFolder();
    await saveIndex(folder, { a: shard });
    await expect(Checkpoint.open(folder)).rejects.toMatchObject(refused(/not a \.safetensors file beside it/));
  });

  it.each(["", "[]", "null", '{"weight_map":[]}', '{"weight_map":{}}'])("are refused with the index %j", async (text) => {
    const path = join(await temporaryFolder(), "model.safetensors.index.json");
    await writeFile(path, text);
    await expect(Checkpoint.open(path)).rejects.toMatchObject(refused(/index of shards|weight_map/));
  });
});
