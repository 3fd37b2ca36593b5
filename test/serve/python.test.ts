import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Augmenter } from "../../src/augment/augmenter.js";
import type { Service } from "../../src/serve/service.js";
import { run, startProgram } from "../command/command.js";
import { CLIENT, each, images, keys, open, restyle } from "./service.js";

/** A Python that has modules: `STYLIZING_VIT_PYTHON`, or else the system's. */
const pythonWith = (...modules: string[]): string | undefined =>
  [process.env.STYLIZING_VIT_PYTHON ?? "", "/usr/bin/python3"].find((one) => {
    try {
      execFileSync(one, ["-c", `import ${modules.join(", ")}`], { stdio: "ignore", timeout: 60_000 });
      return true;
    } catch {
      return false;
    }
  });

let service: Service;
let closed: Service;
const TOKEN = "a token of more than sixteen".replaceAll(" ", "-");
beforeAll(async () => {
  service = await open({ method: "colorist,hed-jitter", seed: 5 });
});
void run;

/** Runs Python with the client in its path; what it printed. */
async function python(program: string, script: string, ...args: string[]): Promise<string> {
  const { finished } = startProgram(program, ["-c", script, ...args], { env: { PYTHONPATH: CLIENT, PYTHONDONTWRITEBYTECODE: "1" } });
  const { code, stdout, stderr } = await finished;
  expect(code, stderr).toBe(0);
  return stdout;
}
