import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.js";
import { root } from "../support/fixtures.js";
import { nullGpu } from "../support/gpu.js";

// As scripts/build.mjs leaves them: a test run builds first.
const folder = join(root, "dist", "kernels");
const files = readdirSync(folder);
const kernels = readdirSync(join(root, "kernels")).filter((name) => name.endsWith(".wgsl"));

describe("expanded kernels", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await nullGpu("matrix");
  });
  afterAll(() => gpu.dispose());

  it("are those of every kernel, in every tier that it has, and no others", () => {
    for (const kernel of kernels) {
      const name = kernel.slice(0, -".wgsl".length);
      const kinds = files
        .filter((file) => file.split(".")[0] === name)
        .map((file) => file.slice(name.length + 1, -".wgsl".length));
      const onUnits = readFileSync(join(root, "kernels", kernel), "utf8").includes("matrix_begin(");
      const tiers = onUnits ? ["float16.emulation", "float16.units"] : ["f32", "float16"];
      if (!kinds.includes("")) expect(kinds, name).toEqual(expect.arrayContaining(tiers));
      expect(kinds.length, name).toBeGreaterThan(0);
    }
    expect([...new Set(files.map((file) => `${file.split(".")[0]}.wgsl`))].sort()).toEqual([...kernels].sort());
  });

  it.each(files)("%s is valid WGSL, and says what it was made of", async (file) => {
    const code = readFileSync(join(folder, file), "utf8");
    expect(code).toMatch(/^\/\/ Made by scripts\/expand-kernels\.mjs of kernels\/\w+\.wgsl/);
    const module = gpu.device.createShaderModule({ label: file, code });
    const { messages } = await module.getCompilationInfo();
    expect(messages.filter(({ type }) => type === "error").map(({ message }) => message)).toEqual([]);
    expect(code).toMatch(/@compute/);
  });
});
