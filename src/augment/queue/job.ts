import { VERSION } from "../../version.js";
import type { ErrorReport } from "../failures.js";
import type { ManifestHeader, ManifestLine } from "../manifest.js";

/** What is to be done is a data set's, in another style; the jobs of all runs of one version are in one queue. */
export const QUEUE_NAME = `stylizing-vit-${VERSION}`;

/** What a worker must know of a run, whatever the part of it. */
export interface RunData {
  /** Of its folder of results for as long as it is not begun anew, and of what is made there. */
  id: string;
  /** The former alone, as it stands in the folder. */
  folder: string;
  /** Of its manifest. */
  header: Omit<ManifestHeader, "adapters">;
  /** Of its data set, so that a worker that has another one in its place is noticed. */
  samples: number;
  /** The folder of results, absolute. */
  out: string;
  /** Of the model, what the manifest does not say; paths are absolute. */
  load: { model?: string; config?: unknown; preset?: string; precision?: string };
}

/** Which adapters a worker has, or groups that are to be made. */
export interface JobData {
  run: RunData;
  /** None: only the adapters are asked for. */
  shard?: Shard;
}

/** Consecutive groups, as the run without a queue has them. */
export interface Shard {
  first: number;
  groups: number;
}

/** What comes back from a worker. */
export interface JobResult {
  worker: string;
  adapters: Record<string, unknown>;
  lines: ManifestLine[];
}

/** Samples of a shard that are done. */
export interface JobProgress {
  worker: string;
  samples: number;
}

export const shardName = ({ first, groups }: Shard): string => `${first}-${first + groups - 1}`;

/** An error as a job can carry it: its message is all that the engine keeps. */
export class JobError extends Error {
  constructor(report: ErrorReport) {
    super(JSON.stringify(report));
  }
}

/** What a failed job says of itself. */
export function reportOf(reason: string | undefined): ErrorReport {
  try {
    const report = JSON.parse(reason ?? "") as ErrorReport;
    if (typeof report.code === "string" && typeof report.fix === "string") return report;
  } catch {}
  const fix = "Look at the workers' own output: they may have been out of memory.";
  const problem = /stalled/.test(reason ?? "")
    ? "Workers that took it died or hung again and again."
    : `${reason || "No reason is given"}.`;
  return { code: "QUEUE", message: `${problem} ${fix}`, fix };
}
