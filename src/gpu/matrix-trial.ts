import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { adapterKey, cacheFile, readEntries, writeEntry } from "./adapter-cache.js";
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

/** Whether the matrix tier works on this driver: from memory, else by the trial `program` in a child process. */
export async function matrixVerdict(
  facts: AdapterFacts,
  adapter: string,
  program: string | undefined,
  file = cacheFile("matrix-verdicts.json"),
): Promise<Verdict> {
  if (process.env[TRIAL_VARIABLE]) return { ok: true, reason: "this is the trial" };
  const known = readEntries(file)[adapterKey(facts)] as Partial<Verdict> | undefined;
  if (typeof known?.ok === "boolean") return { ok: known.ok, reason: String(known.reason) };
  // Not a verdict on the driver, so not remembered: sources that were not built have no program.
  if (program === undefined) return { ok: false, reason: "there is no program to try them with" };
  if (!existsSync(program)) return { ok: false, reason: `the trial program ${program} is missing` };
  const verdict = await runTrial(program, adapter);
  writeEntry(file, adapterKey(facts), verdict);
  return verdict;
}
