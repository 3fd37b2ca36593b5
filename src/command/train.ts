import { type Command, InvalidArgumentError, Option } from "commander";
import { LOSS_NAMES, type Losses } from "../models/stylizing-vit/losses.js";
import { TASKS, taskOf } from "../models/tasks.js";
import type { OpenHost } from "../train/host.js";
import type { EpochReport, LossReport, TrainingProgress } from "../train/progress.js";
import { type PrepareProgress, Trainer, type TrainerOptions, type TrainerReport } from "../train/trainer.js";
import { clock, Progress, stopProgress } from "./progress.js";
import {
  addModelFlags,
  countFromZero,
  deviationList,
  errorDocument,
  exitCode,
  interruptible,
  type ModelFlags,
  meanList,
  note,
  numberFromZero,
  numberList,
  positiveInteger,
  positiveNumber,
  printJsonLine,
  wholeNumber,
} from "./shared.js";

export type TrainFlags = Omit<ModelFlags, "model"> &
  Omit<TrainerOptions, "config" | "signal" | "onProgress" | "onNote" | "precision" | "adapter" | "tune">;

/** The last line on stdout of a run that came to its end. */
export interface TrainDocument extends TrainerReport {
  done: true;
  epochs: number;
  /** The epoch whose weights are the model. */
  best: EpochReport | undefined;
}

function lossWeights(text: string): Losses {
  const values = numberList(text);
  if (values.length !== LOSS_NAMES.length || values.some((value) => !(value >= 0) || !Number.isFinite(value)))
    throw new InvalidArgumentError(`It must be ${LOSS_NAMES.length} numbers from 0 on with commas between: 70,1,7,10`);
  return Object.fromEntries(LOSS_NAMES.map((term, i) => [term, values[i]])) as Losses;
}

function classWeights(text: string): readonly number[] | "balanced" {
  if (text === "balanced") return text;
  const values = numberList(text);
  if (values.some((value) => !(value >= 0) || !Number.isFinite(value)))
    throw new InvalidArgumentError("It must be balanced, or numbers from 0 on with commas between: 1,2,.5");
  return values;
}

const short = (value: number): string => value.toPrecision(3);

/** The total, and what it is the sum of where there are several terms. */
function terms({ total, ...losses }: LossReport): string {
  const parts = Object.entries(losses).map(([term, value]) => `${term} ${short(value)}`);
  return `loss ${short(total)}${parts.length > 1 ? ` (${parts.join(", ")})` : ""}`;
}

/** Shows on stderr how far a run is, a bar an epoch and a line when it is done. */
export class Display {
  #bar: Progress | undefined;
  #of = "";

  prepare({ phase, loaded, total }: PrepareProgress): void {
    this.#show(phase, total, phase === "download" ? "bytes" : "images", false);
    this.#bar!.update(loaded);
  }

  train(progress: TrainingProgress, batch: number, quality: (metrics: EpochReport) => string): void {
    if (progress.kind === "step") {
      const { epoch, epochs, step, steps, losses, imagesPerSecond, secondsLeft } = progress;
      this.#show(`epoch ${epoch}/${epochs}`, steps * batch, "images", true);
      this.#bar!.update(step * batch, `step ${step} of ${steps}, ${clock(secondsLeft)} left | ${terms(losses)}`, imagesPerSecond);
      return;
    }
    this.stop();
    if (progress.kind === "note") note(progress.text);
    else {
      const { epoch, training, validation, best, imagesPerSecond, seconds } = progress;
      const judged = `validation ${short(validation.total)}${best ? ", the best so far" : ""}`;
      note(
        `epoch ${epoch}: ${terms(training)}; ${judged}; ${quality(progress)}; ${imagesPerSecond.toFixed(1)} images/s, ${clock(seconds)}`,
      );
    }
  }

  #show(what: string, total: number, unit: "images" | "bytes", detail: boolean): void {
    if (this.#bar && this.#of === what) return;
    this.stop();
    this.#of = what;
    this.#bar = new Progress(what, total, unit, { detail });
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

function describe({ config, recipe, task, ...report }: TrainerReport): string {
  const model = `${config.depth} layers of ${config.embed_dim} at ${config.image_size} pixels`;
  const images = `${report.images} images${recipe.crops > 1 ? ` × ${recipe.crops} crops` : ""}`;
  const parts = report.microBatch < recipe.batch ? ` in parts of ${report.microBatch}` : "";
  const { adapter, tier } = report;
  return (
    `training ${model} on ${images}, ${report.steps} steps of ${recipe.batch}${parts} an epoch, ${recipe.epochs} epochs; ` +
    `${taskOf({ task }).describe(recipe)}on ${adapter.name}, ${tier}${adapter.software ? " (a CPU: slow)" : ""}`
  );
}

/**
 * Trains, with progress and notices on stderr and, with `json`, a line an epoch and a last one on stdout.
 * @param openHost for tests.
 */
export async function train({ json, ...flags }: TrainFlags, signal: AbortSignal, openHost?: OpenHost): Promise<void> {
  const display = new Display();
  try {
    const onNote = (text: string) => {
      display.stop();
      note(text);
    };
    const onProgress = (progress: PrepareProgress) => display.prepare(progress);
    await using trainer = await Trainer.create({ ...flags, signal, onNote, onProgress }, openHost);
    display.stop();
    const { report } = trainer;
    note(describe(report));
    if (report.resumed) note(`resumed in epoch ${report.resumed.epoch + 1} after step ${report.resumed.step}`);
    const task = taskOf({ task: report.task });
    for await (const progress of trainer.run({ signal })) {
      display.train(progress, report.recipe.batch, (metrics) => task.quality({ ...metrics }));
      if (!json || progress.kind !== "epoch") continue;
      const { kind, ...line } = progress;
      printJsonLine(line);
    }
    const best = trainer.log.findLast((line) => line.best);
    if (best) {
      const quality = `validation loss ${short(best.validation.total)}`;
      note(`done: the model of epoch ${best.epoch}, ${quality}, is in ${report.out}; --model ${report.out} ${task.use}`);
    }
    const document: TrainDocument = { done: true, epochs: trainer.log.length, best, ...report };
    if (json) printJsonLine(document);
  } finally {
    display.stop();
  }
}

export function addTrain(program: Command): void {
  addModelFlags(
    program
      .command("train")
      .description("train a model on images of your own; a run can be stopped at any moment and resumed")
      .addOption(new Option("--task <name>", "what for (default: stylize)").choices(TASKS))
      .option("--data <folder...>", "training images, at any depth; for classify with a folder for each class")
      .option("--val <folder...>", "validation images, which choose the best epoch; for classify also a CSV file")
      .requiredOption("--out <folder>", "where the model, the state to resume from, a log, a curve and sheets go")
      .option("--resume", "go on with the run in --out; options that are not given are its own, and --epochs may be others")
      .option("--init <model>", "begin with a model's weights: a published name, a folder or a .safetensors file")
      .option("--image-size <n>", "side of the images as the model sees them, in pixels", positiveInteger)
      .option("--epochs <n>", "(default: 50; 25 for classify)", positiveInteger)
      .option("--batch <n>", "images per step (default: 64)", positiveInteger)
      .option("--micro-batch <n>", "images on the device at a time (default: what fits)", positiveInteger)
      .option("--lr <x>", "learning rate, which falls along a cosine (default: 1e-3; 1e-4 for classify)", positiveNumber)
      .option("--weight-decay <x>", "(default: 1e-2; 1e-5 for classify)", numberFromZero)
      .option("--clip <x>", "longest norm of a gradient (default: 1)", positiveNumber)
      .option(
        "--loss-weights <i,c,a,s>",
        "stylize: of identity, consistency, anatomical and style (default: 70,1,7,10)",
        lossWeights,
      )
      .option("--seed <n>", "of the first weights and of the order and crops of images (default: 0)", wholeNumber)
      .option("--vgg <source>", "stylize: the losses' VGG-19: hub, a file, or random:SEED (default: hub)")
      .option("--labels <file.csv>", "classify: columns path and label, instead of a folder for each class")
      .option("--group <column>", "classify: the column of it that names what a split keeps together, such as a patient")
      .option("--val-portion <x>", "classify: share of the images to validate with, instead of --val", positiveNumber)
      .addOption(new Option("--optimizer <name>", "classify: (default: adam, with L2 decay)").choices(["adam", "adamw"]))
      .addOption(
        new Option("--decay <rule>", "classify: tensors that decay: matrices, timm (neither CLS nor positions) or all").choices([
          "matrices",
          "timm",
          "all",
        ]),
      )
      .option("--warmup <n>", "classify: steps of linear warm-up, at most a tenth of all (default: 500)", countFromZero)
      .option("--min-lr <x>", "classify: where the cosine ends (default: 1e-6)", numberFromZero)
      .option("--label-smoothing <x>", "classify: (default: 0)", numberFromZero)
      .option("--class-weights <w>", "classify: balanced, or a number for each class with commas between", classWeights)
      .option("--drop-path <x>", "classify: rate of stochastic depth in the last block (default: 0)", numberFromZero)
      .option("--best <metric>", "classify: what chooses the best epoch (default: balancedAccuracy)")
      .addOption(
        new Option("--crop <kind>", "whole: scaled; random: squares at the images' own resolution (default: whole)").choices([
          "whole",
          "random",
        ]),
      )
      .option("--crops <n>", "times that each image stands in an epoch (default: 1)", positiveInteger)
      .option("--flips", "mirror training images at random")
      .option("--checkpoint-minutes <n>", "save so often within an epoch (default: 10)", numberFromZero)
      .option("--checkpoint-steps <n>", "and after so many steps", positiveInteger)
      .option("--recompute", "activation checkpointing: less memory, more time")
      .option("--mean <r,g,b>", "mean of the images, in [0, 1] (default: measured)", meanList)
      .option("--std <r,g,b>", "their standard deviation", deviationList)
      .option("--workers <n>", "threads that read images; 0: none (default: the number of cores, at most 8)", countFromZero),
    { json: "print JSON lines on stdout: one an epoch, and a last one" },
  ).action(async (flags: TrainFlags) => {
    try {
      const stopped = { after: "this step", before: "its last epoch was done", fix: "--resume goes on." };
      await interruptible((signal) => train(flags, signal), stopped);
    } catch (error) {
      if (!flags.json) throw error;
      // A document of several lines would be no line of a stream.
      stopProgress();
      printJsonLine({ done: false, error: errorDocument(error) });
      note(`stylizing-vit: ${errorDocument(error).message}`);
      process.exitCode = exitCode(error);
    }
  });
}
