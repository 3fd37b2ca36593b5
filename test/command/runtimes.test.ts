import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { beforeAll, expect, it } from "vitest";
import { softwareDriverAvailable } from "../../src/gpu/swiftshader.js";
import { build, fresh, imageFiles, levelsApart, MAIN, micro, run, startProgram, stylize } from "./command.js";

beforeAll(build);

it("a device is refused in a worker thread, at once and for what it is", async () => {
  const library = JSON.stringify(join(dirname(MAIN), "..", "index.js"));
  const code = `
    const { parentPort } = require("node:worker_threads");
    import(${library}).then(({ StylizingViT, Trainer }) => {
      const tell = (promise) => promise.then(() => "opened", ({ name, code, message }) => ({ name, code, message }));
      return Promise.all([tell(StylizingViT.load("demo")), tell(Trainer.create({ data: ["nowhere"], out: "nowhere" }))]);
    }).then((told) => parentPort.postMessage(told));`;
  const told = await new Promise((resolve, reject) => {
    const worker = new Worker(code, { eval: true });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  const refused = { name: "StylizingError", code: "NO_ADAPTER", message: expect.stringMatching(/worker thread.*main thread/) };
  expect(told).toEqual([refused, refused]);
});

const carried = softwareDriverAvailable();
it.runIf(carried)("the software driver is found where the cache's name has separators of lists in it", async () => {
  const [cache, TMPDIR] = [fresh("cache:with;marks"), fresh("tmp")];
  mkdirSync(TMPDIR);
  const { code, stdout, stderr } = await run(["doctor"], { env: { XDG_CACHE_HOME: cache, TMPDIR } });
  expect(code, stdout + stderr).toBe(0);
  expect(readdirSync(join(TMPDIR, readdirSync(TMPDIR)[0]!))).toEqual([expect.stringMatching(/^swiftshader-/)]);
});

/** Not a dependency: tried where it is installed. */
function installed(runtime: string): boolean {
  try {
    return execFileSync(runtime, ["--version"], { stdio: ["ignore", "pipe", "ignore"] }).length > 0;
  } catch {
    return false;
  }
}

for (const [runtime, ...flags] of [["bun"], ["deno", "run", "-A"]] as const) {
  const there = installed(runtime);
  it.runIf(there)(
    `${runtime} paints the same, with files read in threads${there ? "" : `: ${runtime} is not installed`}`,
    async () => {
      const [contents, styles, own, node] = [await imageFiles("a", "b"), await imageFiles("s"), fresh("own"), fresh("node")];
      const args = (out: string) => [...stylize(contents, styles, out, "--workers", "2"), ...micro()];
      const finished = await startProgram(runtime, [...flags, MAIN, ...args(own)]).finished;
      expect(finished.code, finished.stderr).toBe(0);
      expect((await run(args(node))).code).toBe(0);
      for (const name of ["a.png", "b.png"]) expect(await levelsApart(join(own, name), join(node, name))).toBe(0);
    },
  );
}
