import type { Command } from "commander";
import { type FitFilesOptions, fitFiles } from "../augment/fit-files.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import { Progress } from "./progress.js";
import { adapterOption, deviceOption, EXIT, interruptible, note, printJson } from "./shared.js";

interface FitFlags {
  in: string[];
  out: string;
  overwrite?: boolean;
  adapter?: AdapterChoice;
  json?: boolean;
  skipUnreadable?: boolean;
}

export function addFit(program: Command): void {
  program
    .command("fit")
    .description("measure the table of colours of a data set that the method randstainna draws from")
    .requiredOption("--in <paths...>", "images, or folders of images, which are read at any depth")
    .requiredOption("--out <file>", "where the table goes, as JSON")
    .option("--overwrite", "replace a file that is there already")
    .option("--skip-unreadable", "exit with 0 though images failed")
    .addOption(adapterOption())
    .addOption(deviceOption())
    .option("--json", "print one JSON document on stdout")
    .action(async ({ in: images, out, overwrite, adapter, json, skipUnreadable }: FitFlags) => {
      let bar: Progress | undefined;
      const onProgress = (done: number, total: number) => {
        bar ??= new Progress("measuring", total, "images");
        bar.update(done);
      };
      const options: FitFilesOptions = { images, out, overwrite, adapter, onNote: note, onProgress };
      const words = { after: "this image", before: "all images were measured" };
      const report = await interruptible((signal) => fitFiles(options, signal), words).finally(() => bar?.stop());
      note(`${report.measured} images measured${report.failed ? `, ${report.failed} failed` : ""}: ${out}`);
      if (json) printJson(report);
      process.exitCode = report.failed > 0 && !skipUnreadable ? EXIT.failed : EXIT.done;
    });
}
