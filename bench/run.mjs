// Entry of `npm run bench`: builds dist/, compiles the benches and runs them on dist/.
//
// The benches share the case table of the tests, which is TypeScript, and Node 20 runs none. They are compiled into
// dist-bench/; what the compiler puts there for src/ gives way to a link to dist/, so that there is one library, and it is
// the one that is shipped. With STYLIZING_VIT_PREBUILT nothing is installed or compiled: for a machine that got both folders
// from another one (see on-gpu.sh). With --compile nothing is measured.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { newest } from "../scripts/newest.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const build = join(root, "dist-bench");
const main = join(build, "bench", "main.js");

/** Runs a step whose own messages say what was wrong. */
function step(...args) {
  try {
    execFileSync(process.execPath, args, { cwd: root, stdio: ["ignore", 2, 2] });
  } catch {
    process.exit(1);
  }
}

function compile() {
  step(join(root, "scripts", "build.mjs"));
  const folders = ["bench", "src", join("test", "ops"), join("test", "support")];
  const sources = Math.max(...folders.map((folder) => newest(join(root, folder))));
  if (existsSync(main) && statSync(main).mtimeMs >= sources) return;
  process.stderr.write("Compiling the benches ...\n");
  rmSync(build, { recursive: true, force: true });
  mkdirSync(build, { recursive: true });
  step(join(root, "node_modules", "typescript", "bin", "tsc"), "-p", join(root, "bench"));
  rmSync(join(build, "src"), { recursive: true, force: true });
  // Relative, so that both folders can be carried elsewhere; Windows links folders by absolute paths only.
  symlinkSync(process.platform === "win32" ? join(root, "dist") : join("..", "dist"), join(build, "src"), "junction");
  writeFileSync(join(build, "package.json"), '{ "type": "module" }\n');
}

const args = process.argv.slice(2);
if (!process.env.STYLIZING_VIT_PREBUILT) compile();
if (!args.includes("--compile")) {
  const { run } = await import(pathToFileURL(main).href);
  await run(args, root);
}
