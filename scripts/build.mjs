// Compiles src/ into dist/ and expands kernels/ into dist/kernels, after installing the locked dependencies where they are missing.
// It skips what is already up to date, so that `npm run demo` and `npm test` start fast the second time.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { newest } from "./newest.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const npm = process.platform === "win32" ? "npm.cmd" : "npm";
const log = (message) => process.stderr.write(`${message}\n`);

/** Runs a program whose output is notes for people; where it fails, its own words are enough. */
function run(program, args) {
  try {
    execFileSync(program, args, { cwd: root, stdio: ["ignore", 2, 2] });
  } catch (error) {
    log(`${[program, ...args].join(" ")} failed (${error.status ?? error.message})`);
    process.exit(1);
  }
}

const installed = join(root, "node_modules", ".package-lock.json");
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, "package-lock.json")).mtimeMs) {
  log("Installing dependencies (npm ci) ...");
  run(npm, ["ci", "--no-audit", "--no-fund"]);
}

const stamp = join(root, "dist", "index.js");
const sources = Math.max(newest(join(root, "src")), statSync(join(root, "tsconfig.json")).mtimeMs);
if (!existsSync(stamp) || statSync(stamp).mtimeMs < sources) {
  log("Building ...");
  rmSync(join(root, "dist"), { recursive: true, force: true });
  run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", root]);
}

const expand = join(root, "scripts", "expand-kernels.mjs");
const expanded = join(root, "dist", "kernels", "linear.f32.wgsl");
const kernels = Math.max(newest(join(root, "kernels")), statSync(expand).mtimeMs);
if (!existsSync(expanded) || statSync(expanded).mtimeMs < kernels) run(process.execPath, [expand]);
