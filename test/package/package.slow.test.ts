import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build, imageFiles, pixels } from "../command/command.js";
import { root } from "../support/fixtures.js";
import { aConsumer, type Ended, exec, possible } from "./consumer.js";

const npm = process.platform === "win32" ? "npm.cmd" : "npm";
const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let packed: { filename: string };

beforeAll(async () => {
  await build();
  const { code, stdout, stderr } = await exec(npm, ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root);
  expect(code, stderr).toBe(0);
  packed = (JSON.parse(stdout) as { filename: string }[])[0]!;
});

describe("what is installed from it", () => {
  const user = join(folder, "user");

  let installed: Promise<Ended> | undefined;
  const install = () => {
    const software = process.platform === "linux" && process.arch === "x64" ? ["@sparticuz/chromium@147.0.0"] : [];
    const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--no-save"];
    installed ??= exec(npm, ["install", join(folder, packed.filename), ...software, ...flags], user);
    return installed;
  };
  /** Skips where packages are not to be had: no network and no cache. */
  async function needInstalled(test: { skip: (note: string) => never }): Promise<void> {
    const { code, stderr } = await install();
    if (code !== 0 && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED/.test(stderr))
      test.skip("no package registry can be reached");
    expect(code, stderr).toBe(0);
  }

  aConsumer(user, needInstalled, possible);

  it("paints one image, by command and by library, alike", async (test) => {
    await needInstalled(test);
    const [[content], [style]] = [await imageFiles("content"), await imageFiles("style")];
    const args = ["stylize", "--content", content!, "--style", style!, "--out", "out"];
    const command = await exec(
      process.platform === "win32" ? "npx.cmd" : "npx",
      ["--no-install", "stylizing-vit", ...args, "--workers", "1", "--json"],
      user,
    );
    expect(command.code, command.stderr).toBe(0);
    expect(JSON.parse(command.stdout)).toMatchObject({ model: "demo", done: 1, failed: 0, timing: { workers: 1 } });
    // The worker is in the package.
    expect(command.stderr).not.toContain("main thread");

    const script = join(user, "paint.js");
    writeFileSync(
      script,
      `import sharp from "sharp";
import { StylizingViT } from "stylizing-vit";
const read = async (path) => {
  const { data, info } = await sharp(path).raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
};
const model = await StylizingViT.load();
const { data, ...shape } = await model.stylize(await read(${JSON.stringify(content)}), await read(${JSON.stringify(style)}));
console.log(JSON.stringify({ shape, data: Buffer.from(data).toString("base64"), untouched: !("gpu" in globalThis) && !globalThis.GPUDevice }));
await model[Symbol.asyncDispose]();
`,
    );
    const library = await exec(process.execPath, [script], user);
    expect(library.code, library.stderr).toBe(0);
    const { shape, data, untouched } = JSON.parse(library.stdout) as { shape: object; data: string; untouched: boolean };
    expect(shape).toEqual({ width: 96, height: 96, channels: 3 });
    expect(untouched).toBe(true);
    expect(Buffer.from(data, "base64").equals((await pixels(join(user, "out", "content.png"))).data)).toBe(true);
  });
});
