import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const LONGEST = 300_000;

/** By versions and not by times: where the folder came in an archive, nothing may be installed that is there. */
function isInstalled(folder: string): boolean {
  const read = (...path: string[]) => JSON.parse(readFileSync(join(folder, ...path, "package.json"), "utf8"));
  try {
    const { dependencies } = read() as { dependencies: Record<string, string> };
    return Object.entries(dependencies).every(([name, version]) => read("node_modules", name).version === version);
  } catch {
    return false;
  }
}

/**
 * Installs what bench/rivals/package.json names, where it is missing or another version: some 290 MB, which is why it is
 * no dependency of the project itself.
 * @returns why it could not be had, or undefined.
 */
export async function installRivals(root: string): Promise<string | undefined> {
  const folder = join(root, "bench", "rivals");
  if (isInstalled(folder)) return undefined;
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
