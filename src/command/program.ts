import { Command, CommanderError } from "commander";
import { VERSION } from "../version.js";
import { addAugment, addReplay } from "./augment.js";
import { addClassify } from "./classify.js";
import { addDemo } from "./demo.js";
import { addDetail } from "./detail.js";
import { addDoctor } from "./doctor.js";
import { addExport } from "./export.js";
import { addFit } from "./fit.js";
import { addForward } from "./forward.js";
import { addGradients } from "./gradients.js";
import { addMethods } from "./methods.js";
import { addMetrics } from "./metrics.js";
import { addModels } from "./models.js";
import { stopProgress } from "./progress.js";
import { addServe } from "./serve.js";
import { EXIT, errorDocument, exitCode, note, printJson, takeDevice } from "./shared.js";
import { addStylize } from "./stylize.js";
import { addTrain } from "./train.js";
import { addTune } from "./tune.js";
import { addWorker } from "./worker.js";

/** A new one for every run: commander keeps what it has parsed. */
function makeProgram(): Command {
  const program = new Command("stylizing-vit")
    .description("Repaint a medical image in another image's style and keep its anatomy, on any GPU that WebGPU reaches.")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError("(--help lists the options)")
    .hook("preAction", (_, verb) => takeDevice(verb));
  // After the settings above: a verb copies them when it is made, so that its errors come here too.
  addStylize(program);
  addAugment(program);
  addReplay(program);
  addServe(program);
  addWorker(program);
  addClassify(program);
  addDetail(program);
  addForward(program);
  addGradients(program);
  addExport(program);
  addDoctor(program);
  addTrain(program);
  addMetrics(program);
  addTune(program);
  addModels(program);
  addMethods(program);
  addFit(program);
  addDemo(program);
  return program;
}

/** Runs the command of those arguments; what it came to is in `process.exitCode`. It throws nothing. */
export async function runProgram(args: readonly string[]): Promise<void> {
  try {
    await makeProgram().parseAsync(args, { from: "user" });
  } catch (error) {
    stopProgress();
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
      if (process.exitCode === EXIT.usage && args.includes("--json")) {
        printJson({
          error: { code: "ARGUMENT", message: error.message.replace(/^error: /, ""), fix: "--help lists the options." },
        });
      }
    } else {
      if (args.includes("--json")) printJson({ error: errorDocument(error) });
      note(`stylizing-vit: ${errorDocument(error).message}`);
      if (process.env.STYLIZING_VIT_DEBUG && error instanceof Error) note(error.stack ?? "");
      process.exitCode = exitCode(error);
    }
  }
}
