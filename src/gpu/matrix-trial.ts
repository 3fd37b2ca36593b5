import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "./cache-folder.js";
import { bindingVersion } from "./dawn.js";
import type { AdapterFacts } from "./profile.js";

/**
 * Some drivers abort the process, with no error to catch, when a shader uses 16-bit floats or matrix units. So the first time
 * that a driver is met a child process paints with them and compares, and the verdict is remembered.
 */

export interface Verdict {
  ok: boolean;
  reason: string;
}

const TRIAL_SECONDS = 60;

/** Set in the child, where the trial itself must not wait for its own verdict. */
export const TRIAL_VARIABLE = "STYLIZING_VIT_MATRIX_TRIAL";

function key(facts: AdapterFacts): string {
  return [bindingVersion(), facts.vendor, facts.architecture, facts.device, facts.description].join("|");
}

function remembered(path: string): Record<string, Verdict> {
  try {
    const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
    return parsed && typeof parsed === "object" ? (parsed as Record<string, Verdict>) : {};
  } catch {
    return {}; // missing or damaged: the trial is made again
  }
}

/** Runs the trial program and reads its fate: exit 0 is a pass, anything else, a signal included, is not. */
export function runTrial(program: string, adapter: string, seconds = TRIAL_SECONDS): Promise<Verdict> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, adapter],
      { timeout: seconds * 1000, killSignal: "SIGKILL", env: { ...process.env, [TRIAL_VARIABLE]: "1" } },
      (error, _stdout, stderr) => {
        if (!error) return resolve({ ok: true, reason: "passed" });
        const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("Node.js v"));
        // Of an exception that nobody caught, Node prints the message in the middle.
        const last = lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.pop() ?? "";
        if (error.killed) return resolve({ ok: false, reason: `no answer in ${seconds} s` });
        resolve({ ok: false, reason: error.signal ? `the process died of ${error.signal}` : last || `exit code ${error.code}` });
      },
    );
  });
}

/** Whether the matrix tier works on this driver: from memory, else by a trial in a child process. */
export async function matrixVerdict(
  facts: AdapterFacts,
  adapter: string,
  options: { program?: string; file?: string } = {},
): Promise<Verdict> {
  if (process.env[TRIAL_VARIABLE]) return { ok: true, reason: "this is the trial" };
  const file = options.file ?? join(cacheFolder(), "matrix-verdicts.json");
  const known = remembered(file)[key(facts)];
  if (typeof known?.ok === "boolean") return known;
  const program = options.program ?? fileURLToPath(new URL("../model/matrix-trial.js", import.meta.url));
  // Not a verdict on the driver, so not remembered: sources that were not built have no program.
  if (!existsSync(program)) return { ok: false, reason: `the trial program ${program} is missing` };
  const verdict = await runTrial(program, adapter);
  try {
    mkdirSync(dirname(file), { recursive: true });
    const partial = `${file}.${process.pid}.partial`;
    writeFileSync(partial, JSON.stringify({ ...remembered(file), [key(facts)]: verdict }, null, 2));
    renameSync(partial, file);
  } catch {
    // A cache that cannot be written costs a second next time and nothing else.
  }
  return verdict;
}
