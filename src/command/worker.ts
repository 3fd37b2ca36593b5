import { type Command, Option } from "commander";
import type { WorkOptions } from "../augment/queue/worker.js";
import {
  adapterOption,
  countFromZero,
  deviceOption,
  EXIT,
  interruptible,
  type ModelFlags,
  note,
  positiveInteger,
  positiveNumber,
  printJson,
} from "./shared.js";
import { startWorkers } from "./worker-processes.js";

interface WorkerFlags extends Pick<WorkOptions, "concurrency" | "lease" | "idle" | "in" | "out" | "model" | "batch" | "workers"> {
  queue: string;
  adapter?: ModelFlags["adapter"];
  devices?: string;
  json?: boolean;
}

/** Milliseconds for what is printed to arrive. */
const A_MOMENT = 200;

export function addWorker(program: Command): void {
  program
    .command("worker")
    .description("take parts of data sets that `augment --queue` puts into a Redis, and restyle them, until it is stopped")
    .requiredOption("--queue <url>", "the Redis: redis://HOST:PORT, or with /DATABASE behind it")
    .option("--concurrency <n>", "parts at a time", positiveInteger, 1)
    .option("--lease <seconds>", "a worker that says nothing for so long has lost its part to another one", positiveNumber, 30)
    .option("--idle <seconds>", "end after so long without work (default: never)", positiveNumber)
    .option("--in <path>", "where the data set is on this machine (default: as `augment` says)")
    .option("--out <folder>", "where the folder of results is on this machine (default: as `augment` says)")
    .option("--model <name>", "where the model is on this machine (default: as `augment` says)")
    .addOption(adapterOption())
    .addOption(deviceOption())
    .addOption(
      new Option("--devices <list>", "all, or several as --device has them with commas between: a process for each").conflicts([
        "adapter",
        "device",
      ]),
    )
    .option("--batch <n>", "images per submission; results do not depend on it", positiveInteger)
    .option("--workers <n>", "threads that read and write images; 0: none", countFromZero)
    .option("--json", "print one JSON document on stdout when it ends")
    .action(async ({ adapter, json, devices, ...flags }: WorkerFlags) => {
      if (devices !== undefined) {
        const { workers, code } = await startWorkers(devices, process.argv.slice(2));
        if (json) printJson({ workers });
        process.exitCode = code;
        return;
      }
      const { work } = await import("../augment/queue/worker.js");
      const options: WorkOptions = { ...flags, load: { ...(adapter ? { adapter } : {}), onNote: note }, onNote: note };
      const report = await interruptible((signal) => work(options, signal), { after: "this part", before: "its part was done" });
      const { shards, outputs, lost, failed } = report;
      note(
        `${shards} parts with ${outputs} images${lost > 0 ? `, ${lost} lost to other workers` : ""}${failed > 0 ? `, ${failed} failed` : ""}`,
      );
      if (json) printJson(report);
      process.exitCode = EXIT.done;
      // What the engine has running for a Redis that is gone keeps no process.
      if (report.cutOff) setTimeout(() => process.exit(), A_MOMENT).unref();
    });
}
