import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { openSoftwareDriver, softwareDriverAvailable } from "../../src/gpu/swiftshader.js";
import { Tuner } from "../../src/gpu/tuner.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { Engine } from "../../src/painter/engine.js";
import { StylizingViT } from "../../src/painter/stylizing-vit.js";

// The driver is unpacked into the usual cache before the tests get one of their own.
if (softwareDriverAvailable()) openSoftwareDriver();
const cache = mkdtempSync(join(tmpdir(), "stylizing-tune-"));
vi.stubEnv("XDG_CACHE_HOME", cache);
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

const config = parseConfig({ image_size: 16, patch_size: 8, embed_dim: 48, depth: 1, num_heads: 3 }, "test");
const load = (tune?: "auto" | "off" | "measure") =>
  StylizingViT.load("hashed:2", { config, adapter: "software", precision: "f32", ...(tune ? { tune } : {}) });

it("measures on request, although a CPU is not measured by itself, and remembers", async () => {
  await using model = await load();
  const { choices, error } = await model.tune([2]);
  expect(choices.length).toBeGreaterThan(5);
  expect(error).toBeLessThan(5e-5);
  await using again = await load();
  const known = await again.tune([2]);
  expect(known.choices).toEqual(choices);
});

it("measures nothing for a model that was loaded with the tuner off", async () => {
  await using model = await load("off");
  expect((await model.tune([2])).choices).toEqual([]);
});

it("refuses an impossible batch size", async () => {
  await using model = await load("off");
  await expect(model.tune([2, 0])).rejects.toMatchObject({ code: "ARGUMENT" });
});

it("takes the defaults again where tuned kernels compute something else, and forgets what it chose", async () => {
  await using model = await load("measure");
  const wrong = vi.spyOn(Engine.prototype, "tune").mockResolvedValueOnce(0.5);
  const forgotten = vi.spyOn(Tuner.prototype, "forget");
  await expect(model.tune([2])).rejects.toMatchObject({ code: "GPU", message: expect.stringContaining("other results") });
  expect(forgotten).toHaveBeenCalledOnce();
  wrong.mockRestore();
  forgotten.mockRestore();
  expect((await model.tune([2])).choices).toEqual([]);
});
