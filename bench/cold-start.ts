import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { AdapterChoice } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import type { ModelName } from "./options.js";
import { duration, mebibytes, type Report } from "./report.js";
import { type Summary, summarize } from "./statistics.js";

/** Stretches of a new process's life, in order. */
export const PHASES = ["node", "import", "open", "upload", "compile", "first", "second"] as const;
export type Phase = (typeof PHASES)[number];

const MEANING: Record<Phase, string> = {
  node: "Node itself, from spawn to the first line",
  import: "import of the library",
  open: "model found, adapter and device opened",
  upload: "weights read, packed and uploaded",
  compile: "kernels compiled, schedule bound",
  first: "first image",
  second: "a second image, warm, for comparison",
};

/** What the child prints. */
export interface ColdRun {
  phases: Record<Phase, number>;
  residentBytes: number;
  deviceBytes: number;
}

export interface ColdRow {
  model: string;
  tier: Tier;
  phases: Record<Phase, Summary>;
  /** From spawn to the first image. */
  total: Summary;
  residentBytes: number;
  deviceBytes: number;
}

export interface ColdRequest {
  models: readonly ModelName[];
  precision: Tier;
  adapter: AdapterChoice;
  /** New processes a model. */
  processes: number;
}

const CHILD = fileURLToPath(new URL("cold-start-child.js", import.meta.url));

export async function benchCold({ models, precision, adapter, processes }: ColdRequest, report: Report): Promise<void> {
  const rows = report.section<ColdRow>("cold", `Cold start, ${precision} (a new process each time, host's clock)`);
  for (const model of models) {
    const runs: ColdRun[] = [];
    try {
      for (let i = 0; i < processes; i++) {
        const spawned = Date.now();
        const { stdout } = await promisify(execFile)(process.execPath, [CHILD, model, precision, adapter, String(spawned)], {
          maxBuffer: 2 ** 20,
        });
        runs.push(JSON.parse(stdout) as ColdRun);
      }
    } catch (error) {
      const { stderr } = error as { stderr?: string };
      report.fail(`cold start of ${model}`, stderr?.trim() || (error as Error).message);
      continue;
    }
    // The first process of all may find a driver's shader cache empty; the median of several does not.
    const phases = Object.fromEntries(PHASES.map((phase) => [phase, summarize(runs.map((run) => run.phases[phase]))])) as Record<
      Phase,
      Summary
    >;
    const row: ColdRow = {
      model,
      tier: precision,
      phases,
      total: summarize(runs.map((run) => PHASES.reduce((sum, phase) => sum + (phase === "second" ? 0 : run.phases[phase]), 0))),
      residentBytes: Math.max(...runs.map((run) => run.residentBytes)),
      deviceBytes: runs[0]!.deviceBytes,
    };
    rows.push(row);
    report.table([`${model}: ${runs.length} processes`, 48], ["median", 9], ["fastest", 9], ["slowest", 9]);
    const times = (pick: (run: ColdRun) => number) => [Math.min(...runs.map(pick)), Math.max(...runs.map(pick))].map(duration);
    for (const phase of PHASES) {
      if (phase === "second") {
        const totals = (run: ColdRun) => PHASES.reduce((sum, one) => sum + (one === "second" ? 0 : run.phases[one]), 0);
        report.row("in all, to the first image", duration(row.total.median), ...times(totals));
      }
      report.row(MEANING[phase], duration(phases[phase].median), ...times((run) => run.phases[phase]));
    }
    report.line(`memory: ${mebibytes(row.residentBytes)} resident at most, ${mebibytes(row.deviceBytes)} on the device\n`);
  }
}
