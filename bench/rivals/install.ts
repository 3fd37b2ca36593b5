import { execFile } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";

const LONGEST = 300_000;

/**
 * Installs what bench/rivals/package.json names, where it is missing or older than its lock: some 290 MB, which is why it is
 * no dependency of the project itself.
 * @returns why it could not be had, or undefined.
 */
export async function installRivals(root: string): Promise<string | undefined> {
  const folder = join(root, "bench", "rivals");
  const installed = join(folder, "node_modules", ".package-lock.json");
  const locked = join(folder, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(locked).mtimeMs) return undefined;
  process.stderr.write("Installing onnxruntime-node into bench/rivals (npm ci) ...\n");
  // What `npm run` tells its children about this project is not about that one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(INIT_CWD|npm_(package|lifecycle|command|execpath|config_local_prefix))/.test(name),
    ),
  );
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  return new Promise((resolve) => {
    execFile(
      npm,
      ["ci", "--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"],
      { cwd: folder, env, timeout: LONGEST, shell: process.platform === "win32" },
      (error, _, stderr) => {
        const said = [...stderr.matchAll(/^npm error (.*)/gm)].slice(0, 3).map(([, line]) => line);
        const reason = error?.killed ? `ETIMEDOUT after ${LONGEST / 1000} s` : said.join(", ") || error?.message;
        resolve(error ? `npm ci in bench/rivals failed: ${reason}` : undefined);
      },
    );
  });
}
