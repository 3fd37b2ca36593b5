#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { VERSION } from "../version.js";
import { addClassify } from "./classify.js";
import { addDemo } from "./demo.js";
import { addDoctor } from "./doctor.js";
import { addExport } from "./export.js";
import { addForward } from "./forward.js";
import { addGradients } from "./gradients.js";
import { addModels } from "./models.js";
import { stopProgress } from "./progress.js";
import { EXIT, errorDocument, exitCode, note, printJson } from "./shared.js";
import { addStylize } from "./stylize.js";
import { addTrain } from "./train.js";
import { addTune } from "./tune.js";

const program = new Command("stylizing-vit")
  .description("Repaint a medical image in another image's style and keep its anatomy, on any GPU that WebGPU reaches.")
  .version(VERSION)
  .exitOverride()
  .showHelpAfterError("(--help lists the options)");

// After the settings above: a verb copies them when it is made, so that its errors come here too.
addStylize(program);
addClassify(program);
addForward(program);
addGradients(program);
addExport(program);
addDoctor(program);
addTrain(program);
addTune(program);
addModels(program);
addDemo(program);

// A reader that has had enough (`| head`) is no failure; a full disk behind stdout is one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    if (stream === process.stdout) note(`stylizing-vit: stdout cannot be written: ${error.message}.`);
    process.exitCode = EXIT.failed;
  });
}

try {
  await program.parseAsync();
} catch (error) {
  stopProgress();
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (process.exitCode === EXIT.usage && process.argv.includes("--json")) {
      printJson({
        error: { code: "ARGUMENT", message: error.message.replace(/^error: /, ""), fix: "--help lists the options." },
      });
    }
  } else {
    if (process.argv.includes("--json")) printJson({ error: errorDocument(error) });
    note(`stylizing-vit: ${errorDocument(error).message}`);
    if (process.env.STYLIZING_VIT_DEBUG && error instanceof Error) note(error.stack ?? "");
    process.exitCode = exitCode(error);
  }
}
