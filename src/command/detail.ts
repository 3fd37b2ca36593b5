import { type Command, Option } from "commander";
import { type DetailReport, restoreFile } from "../augment/restore-file.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import { adapterOption, note, positiveInteger, positiveNumber, printJson } from "./shared.js";

interface DetailFlags {
  content: string;
  painted: string;
  low?: string;
  radius: number;
  epsilon: number;
  background: "keep" | "paint";
  out: string;
  overwrite?: boolean;
  adapter?: AdapterChoice;
  json?: boolean;
}

async function detail({ json, ...flags }: DetailFlags): Promise<void> {
  const report: DetailReport = await restoreFile(flags);
  note(`${report.width} × ${report.height} from ${report.low.join(" × ")} on ${report.adapter.name}: ${flags.out}`);
  if (json) printJson(report);
}

export function addDetail(program: Command): void {
  program
    .command("detail")
    .description("give back a content's own size and detail to what any tool painted of it, small (guided filter)")
    .requiredOption("--content <file>", "the image at its full size")
    .requiredOption("--painted <file>", "what was painted of it")
    .option("--low <file>", "the content as it was painted from (default: it is scaled to the painted image's size)")
    .option("--radius <n>", "of the windows in which colours are fitted, in pixels of the painted image", positiveInteger, 6)
    .option("--epsilon <x>", "contrast that counts as none, squared, of values in [0, 1]", positiveNumber, 1e-3)
    .addOption(
      new Option("--background <way>", "keep: bare glass stays as it is; paint: everything is painted")
        .choices(["keep", "paint"])
        .default("paint"),
    )
    .requiredOption("--out <file>", "where the result goes (.png, .jpg or .webp)")
    .option("--overwrite", "replace a file that is there already")
    .addOption(adapterOption())
    .option("--json", "print one JSON document on stdout")
    .action(detail);
}
