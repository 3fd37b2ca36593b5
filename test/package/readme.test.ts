import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../support/fixtures.js";

it("README's tables of measured speed are what bench/results says", () => {
  const check = () => execFileSync(process.execPath, [join(root, "scripts", "readme-tables.mjs"), "--check"], { stdio: "pipe" });
  expect(check).not.toThrow();
});
