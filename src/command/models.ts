import type { Command } from "commander";
import { listModels } from "../hub/catalogue.js";
import { DEFAULT_MODEL } from "../models/open.js";
import { printJson } from "./shared.js";

const PARAMETERS = { tiny: "5.8 M", small: "22.8 M", base: "90.5 M" } as const;

export function addModels(program: Command): void {
  program
    .command("models")
    .description("list the models that can be named")
    .option("--json", "print one JSON document on stdout")
    .action((flags: { json?: boolean }) => {
      const published = listModels();
      if (flags.json) {
        printJson({
          default: DEFAULT_MODEL,
          models: [{ name: DEFAULT_MODEL, preset: null, comesWithPackage: true }, ...published],
        });
        return;
      }
      const line = (name: string, size: string, statistics: string) => `${name.padEnd(34)}${size.padEnd(9)}${statistics}\n`;
      process.stdout.write(line("NAME", "SIZE", "MEAN AND STD OF ITS TRAINING IMAGES"));
      process.stdout.write(line(DEFAULT_MODEL, "0.7 M", "known (96 px, comes with the package)"));
      for (const { name, preset, mean } of published) {
        process.stdout.write(
          line(
            name,
            PARAMETERS[preset],
            mean ? "known" : "not published: give --mean and --std, or they are measured from your images",
          ),
        );
      }
    });
}
