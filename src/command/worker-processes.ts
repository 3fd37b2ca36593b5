import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { WorkReport } from "../augment/queue/worker.js";
import { StylizingError } from "../errors.js";
import { chooseAdapter, type ListedAdapter, listAdapters } from "../gpu/find-adapter.js";
import { EXIT, note } from "./shared.js";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));
const FLAG = "--devices";

/** What one process came to. */
interface Ended {
  device: string;
  code: number | null;
  signal: NodeJS.Signals | null;
  report?: WorkReport;
}

/**
 * Runs `worker` once for each of several devices, until all have ended; a signal that stops is handed on.
 * @param list `all` stands for every GPU, or where there is none for all that compute on the CPU.
 * @param args the command's own, `--devices` among them.
 * @throws StylizingError `ARGUMENT` for a device that there is not
 */
export async function startWorkers(list: string, args: readonly string[]): Promise<{ workers: Ended[]; code: number }> {
  const devices = chosenOf(list, await listAdapters());
  const at = args.findIndex((arg) => arg === FLAG || arg.startsWith(`${FLAG}=`));
  const rest = args.filter((_, index) => index !== at && !(index === at + 1 && args[at] === FLAG));
  const children = devices.map(({ name }) => ({
    name,
    child: spawn(process.execPath, [MAIN, ...rest, "--device", name], { stdio: ["ignore", "pipe", "inherit"] }),
  }));
  const pass = (signal: NodeJS.Signals) => {
    for (const { child } of children) child.kill(signal);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, pass);
  try {
    const workers = await Promise.all(
      children.map(async ({ name, child }): Promise<Ended> => {
        let stdout = "";
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          stdout += text;
        });
        const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
          child.once("error", () => resolve([EXIT.failed, null]));
          child.once("close", (...how) => resolve(how));
        });
        if (code !== EXIT.done) note(`the worker on ${name} ended with ${signal ?? `exit code ${code}`}`);
        return { device: name, code, signal, ...(stdout ? { report: JSON.parse(stdout) as WorkReport } : {}) };
      }),
    );
    const bad = workers.find(({ code }) => code !== EXIT.done);
    return { workers, code: bad ? (bad.code ?? EXIT.failed) : EXIT.done };
  } finally {
    for (const signal of signals) process.off(signal, pass);
  }
}

/** @throws StylizingError `ARGUMENT` */
export function chosenOf(list: string, all: readonly ListedAdapter[]): ListedAdapter[] {
  const hardware = all.filter(({ software }) => !software);
  const chosen = list === "all" ? (hardware.length > 0 ? hardware : all) : list.split(",").map((one) => chooseAdapter(one, all));
  const [first] = chosen;
  if (!first) throw new StylizingError("NO_ADAPTER", "There is no device.", "`stylizing-vit doctor` tells more.");
  const twin = chosen.find(({ ofThisName }) => ofThisName > 1);
  if (twin)
    note(
      `${twin.ofThisName} devices are called ${twin.name}, and of those the first alone can be opened by name: show one GPU each to several processes, as containers do`,
    );
  return [...new Set(chosen)];
}
