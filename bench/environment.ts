import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { type AdapterReport, adapterReport, type Gpu } from "../src/gpu/gpu.js";
import { versions } from "../src/version.js";
import type { Report } from "./report.js";

/** Commit of the checkout, with a mark where files differ from it; undefined where there is no git. */
function commit(root: string): string | undefined {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "kernels", "bench");
    return `${git("rev-parse", "--short=12", "HEAD")}${changed === "" ? "" : " and changes to it"}`;
  } catch {
    return undefined;
  }
}

export interface Environment {
  date: string;
  commit: string | undefined;
  adapter: AdapterReport & { tier: string };
  host: { cpu: string; cores: number; memoryBytes: number; platform: string };
  versions: Record<string, string>;
}

export function describe(gpu: Gpu, root: string): Environment {
  return {
    date: new Date().toISOString(),
    commit: commit(root),
    adapter: { ...adapterReport(gpu), tier: gpu.profile.tier },
    host: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryBytes: totalmem(),
      platform: `${process.platform}-${process.arch}`,
    },
    versions: versions(),
  };
}

export function printEnvironment({ adapter, host, versions, date, commit: at }: Environment, report: Report): void {
  const entry = (name: string, text: string) => report.line(`${name.padEnd(10)}${text}`);
  entry(
    "adapter",
    `${adapter.name} (${[adapter.vendor, adapter.architecture].filter(Boolean).join(" ")})${adapter.software ? ", runs on the CPU" : ""}`,
  );
  entry("driver", adapter.driver || "not named");
  entry("host", `${host.cpu}, ${host.cores} cores, ${Math.round(host.memoryBytes / 2 ** 30)} GiB, ${host.platform}`);
  entry(
    "versions",
    Object.entries(versions)
      .map((version) => version.join(" "))
      .join(", "),
  );
  entry("commit", at ?? "unknown");
  entry("date", date);
}
