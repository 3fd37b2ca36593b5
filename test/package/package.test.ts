import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import type * as fallback from "../../src/webgpu-fallback.js";
import { build } from "../command/command.js";
import { root } from "../support/fixtures.js";
import { aConsumer, exec, possible } from "./consumer.js";

const npm = process.platform === "win32" ? "npm.cmd" : "npm";

interface Packed {
  filename: string;
  files: { path: string; size: number }[];
}

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let packed: Packed;

beforeAll(async () => {
  await build();
  const { code, stdout, stderr } = await exec(npm, ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root);
  expect(code, stderr).toBe(0);
  packed = (JSON.parse(stdout) as Packed[])[0]!;
});

describe("what is published", () => {
  it("is the compiled library, the kernels, the small model and the texts, nothing else and nothing large", () => {
    const paths = packed.files.map(({ path }) => path);
    const beside = ["README.md", "LICENSE", "CHANGELOG.md"].filter((name) => existsSync(join(root, name)));
    expect(paths.filter((path) => !path.includes("/")).sort()).toEqual(["package.json", ...beside].sort());
    expect([...new Set(paths.filter((path) => path.includes("/")).map((path) => path.split("/")[0]))].sort()).toEqual([
      "clients",
      "dist",
      "docs",
      "kernels",
      "weights",
    ]);
    expect(paths.filter((path) => path.startsWith("docs/"))).toEqual(["docs/augment_draws.py"]);
    expect(paths.filter((path) => path.startsWith("clients/"))).toEqual(["clients/python/stylizing_vit.py"]);
    expect(paths).toEqual(expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "dist/command/main.js"]));
    expect(paths).toEqual(expect.arrayContaining(["weights/demo/model.safetensors", "weights/demo/config.json"]));
    const kernels = readdirSync(join(root, "kernels"), { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".wgsl"),
    );
    expect(paths.filter((path) => path.startsWith("kernels/")).sort()).toEqual(kernels.map((name) => `kernels/${name}`).sort());
    expect(paths.filter((path) => path.startsWith("dist/") && !/(\.js|\.d\.ts|^dist\/kernels\/.*\.wgsl)$/.test(path))).toEqual(
      [],
    );
    expect(packed.files.filter(({ size }) => size > 5e6)).toEqual([]);
  });

  it("has nothing that publint objects to", async () => {
    const { messages, pkg } = await publint({ pkgDir: root, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg!))).toEqual([]);
  });
});

it("promises of WebGPU, where there is none of it, nothing that it does not have", () => {
  expectTypeOf<GPUDevice>().toExtend<fallback.Device>();
  expectTypeOf<GPUQueue>().toExtend<fallback.Queue>();
  expectTypeOf<GPUBuffer>().toExtend<fallback.DeviceBuffer>();
  expectTypeOf<GPUCommandEncoder>().toExtend<fallback.CommandEncoder>();
  expectTypeOf<GPUComputePassEncoder>().toExtend<fallback.ComputePassEncoder>();
  expectTypeOf<GPUComputePipeline>().toExtend<fallback.ComputePipeline>();
  expectTypeOf<AbortSignal>().toExtend<fallback.Signal>();
});

// Installed from what is packed in package.slow.test.ts.
describe("what is linked to it", () => {
  const user = join(folder, "user");
  const link = async () => {
    mkdirSync(join(user, "node_modules"), { recursive: true });
    for (const name of ["sharp", "webgpu"]) {
      if (!existsSync(join(user, "node_modules", name)))
        symlinkSync(join(root, "node_modules", name), join(user, "node_modules", name), "junction");
    }
    if (!existsSync(join(user, "node_modules", "stylizing-vit")))
      symlinkSync(root, join(user, "node_modules", "stylizing-vit"), "junction");
  };
  // One of each library, checked.
  const chosen = possible.filter(({ types, skipLibCheck }) => types.length === 0 && !skipLibCheck);
  aConsumer(user, link, chosen);
});
