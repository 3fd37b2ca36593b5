import { join } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { writeFileAtomic } from "../image/atomic-write.js";
import type { ImagePool } from "../image/pool.js";
import type { TaskMetrics } from "../models/tasks.js";
import { versions } from "../version.js";
import { RUN_FILES, type RunState, readRun, readState, writeConfig, writeLog, writeModel, writeRun } from "./checkpoint.js";
import { curveSvg } from "./curve.js";
import type { Dataset, TrainingBatch } from "./dataset.js";
import { evaluate, isBetter, learningRateOf, withTotal, writeFigures } from "./epoch.js";
import { type OpenHost, openTrainingHost, type TrainingHost } from "./host.js";
import { refuse, type TrainerOptions } from "./options.js";
import { hostOptions, type Kind, type PreparedRun, prepareRun } from "./prepare.js";
import type { EpochReport, TrainerReport, TrainingProgress } from "./progress.js";
import { noLosses, type StepReport, type TrainingEngine } from "./types.js";
import type { ValidationSet } from "./validation.js";

export type { PrepareProgress, TrainerOptions } from "./options.js";
export type { TrainerReport } from "./progress.js";

/**
 * Trains a model on folders of images, by the published recipe unless told otherwise. A run lives in a folder and
 * can be stopped at any moment, by a signal or a power cut, and resumed: what it writes is then bit-exact on the same
 * adapter. `dispose()` it, or use `await using`.
 */
export class Trainer implements AsyncDisposable {
  readonly #options: TrainerOptions;
  readonly #task: Kind;
  readonly #openHost: OpenHost;
  readonly #pool: ImagePool;
  readonly #dataset: Dataset;
  readonly #validation: ValidationSet;
  readonly #resumed: { epoch: number; step: number } | undefined;
  #run: RunState;
  #host: TrainingHost;
  #engine!: TrainingEngine;
  #disposed: Promise<void> | undefined;
  #running = false;
  /** Notices that came while batches were prepared. */
  readonly #notes: string[];
  /** Steps that no report has told of. */
  #unreported = 0;
  /** Steps that are not on disk. */
  #unsaved = 0;
  #reportedAt = 0;
  #savedAt = 0;
  /** Since when time counts towards the epoch. */
  #countedFrom = 0;
  /** Of this process: what time left is reckoned from. */
  #pace = { steps: 0, milliseconds: 0, validation: 0 };

  private constructor(options: TrainerOptions, openHost: OpenHost, parts: PreparedRun, notes: string[]) {
    // Plain JavaScript does not know that this is private.
    if (!parts) refuse("A Trainer is not made by new.", "Use await Trainer.create(options).");
    this.#options = options;
    this.#openHost = openHost;
    this.#task = parts.task;
    this.#pool = parts.pool;
    this.#dataset = parts.dataset;
    this.#validation = parts.validation;
    this.#run = parts.run;
    this.#host = parts.host;
    this.#notes = notes;
    this.#resumed = parts.resumed ? { epoch: parts.run.epoch, step: parts.run.step } : undefined;
  }

  /**
   * Reads all images once, opens a device and puts the weights there: the first ones, or those of the run that is resumed.
   * @throws StylizingError `ARGUMENT` (also for an option of the wrong type, and where the folder holds a run and `resume` is not set, or
   *   one of other options), `CONFIG`, `CHECKPOINT`, `DOWNLOAD`, `IMAGE`, `OUTPUT`, `NO_ADAPTER` or `GPU`; the signal's reason when aborted.
   * @param openHost for tests.
   */
  static async create(options: TrainerOptions, openHost: OpenHost = openTrainingHost): Promise<Trainer> {
    const notes: string[] = [];
    const prepared = await prepareRun(options, openHost);
    prepared.sink.tell = (text) => notes.push(text);
    const trainer = new Trainer(options, openHost, prepared, notes);
    try {
      await trainer.#openEngine(prepared.weights, prepared.changed);
      return trainer;
    } catch (error) {
      await trainer.dispose();
      throw error;
    }
  }

  /**
   * Puts the run's weights on the device.
   * @param first makes them where the folder holds no run yet: it then is begun.
   * @param changed the run has other epochs than its folder says.
   */
  async #openEngine(first?: PreparedRun["weights"], changed = false): Promise<void> {
    const { out, microBatch, recompute = false } = this.#options;
    const { config, recipe } = this.#run;
    const shapes = this.#task.shapes(config);
    const state = first ? undefined : await readState(out, shapes);
    const { batch, lossWeights, clip, weightDecay } = recipe;
    const initial = state?.parameters ?? (await first!(config));
    const terms = this.#task.terms.map(({ name }) => ({ name, weight: lossWeights[name]! }));
    const fixed = {
      batch,
      terms,
      clip,
      weightDecay,
      recompute,
      recipe,
      initial,
      onNote: (text: string) => this.#notes.push(text),
    };
    this.#engine = await this.#host.createEngine(config, { ...fixed, ...(microBatch === undefined ? {} : { microBatch }) });
    if (state) await this.#engine.writeState(state);
    if (first || changed) {
      await writeConfig(out, this.#run);
      await writeRun(out, this.#run, shapes, state ?? (await this.#engine.readState()));
    }
    await writeLog(out, this.#run.log);
  }

  get report(): TrainerReport {
    const { config, recipe, data } = this.#run;
    const { adapter, tier } = this.#host;
    const images = this.#dataset.files.length;
    return {
      out: this.#options.out,
      task: this.#task.name,
      config,
      recipe,
      microBatch: this.#engine.microBatch,
      images,
      unreadable: data.count - images,
      validation: this.#validation.files.length,
      steps: this.#dataset.steps(recipe.batch),
      resumed: this.#resumed,
      deviceBytes: this.#engine.bytes,
      adapter,
      tier,
      versions: versions(),
    };
  }

  /** The epochs done, those of earlier processes too. */
  get log(): readonly EpochReport[] {
    return this.#run.log;
  }

  /**
   * Trains to the end of the last epoch. A device that is lost is opened again, once, from the last state on disk; events of
   * steps done since then come a second time.
   * @param options `signal` ends the run after the step under way: its state is written, and the signal's reason thrown.
   * @throws StylizingError `TRAINING` where a loss is not a finite number, `OUTPUT`, `IMAGE`, `GPU`, `DEVICE_LOST` or `DISPOSED`.
   *   The state written last stays, and so does the best model.
   */
  async *run({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<TrainingProgress, void> {
    if (this.#disposed) throw new StylizingError("DISPOSED", "This trainer was disposed of.", "Make a new one with resume.");
    if (this.#running) refuse("This trainer is running.", "Wait for its end.");
    this.#running = true;
    try {
      for (let lost = 0; ; lost++) {
        try {
          yield* this.#train(signal);
          return;
        } catch (error) {
          const code = error instanceof StylizingError ? error.code : undefined;
          if (this.#disposed || !(code === "DEVICE_LOST" || (code === "GPU" && this.#host.isLost))) throw error;
          if (lost > 0) {
            const fix = `What was done until step ${this.#run.step} of epoch ${this.#run.epoch + 1} is kept: go on with --resume, perhaps with a smaller --micro-batch.`;
            throw new StylizingError("DEVICE_LOST", "The device was lost a second time.", fix, { cause: error });
          }
          await this.#reopen();
          const { epoch, step } = this.#run;
          yield {
            kind: "note",
            text: `the device was lost (${messageOf(error)}); going on from epoch ${epoch + 1}, step ${step}`,
          };
        }
      }
    } finally {
      this.#running = false;
    }
  }

  async #reopen(): Promise<void> {
    await this.#closeDevice();
    const run = await readRun(this.#options.out);
    if (!run) throw new StylizingError("CHECKPOINT", `The run in ${this.#options.out} is gone.`, "Begin again.");
    this.#run = run;
    this.#unreported = 0;
    this.#unsaved = 0;
    this.#host = await this.#openHost(hostOptions(this.#options, this.#task, run.recipe, run.config.in_channels));
    await this.#openEngine();
  }

  async *#train(signal: AbortSignal | undefined): AsyncGenerator<TrainingProgress, void> {
    const run = this.#run;
    const { batch, epochs } = run.recipe;
    const steps = this.#dataset.steps(batch);
    const batches = this.#dataset.batches({ batch, epochs, from: { epoch: run.epoch, step: run.step } });
    this.#savedAt = performance.now();
    try {
      while (run.epoch < epochs) {
        let learningRate = 0;
        this.#countedFrom = performance.now();
        this.#reportedAt = performance.now();
        while (run.step < steps) {
          if (signal?.aborted) yield* this.#stop(signal, learningRate);
          learningRate = learningRateOf(run.recipe, { epoch: run.epoch, step: run.step, steps });
          const { images, labels } = await this.#next(batches);
          await this.#engine.step(images, learningRate, labels);
          run.step++;
          this.#unreported++;
          this.#unsaved++;
          const last = run.step === steps;
          const save = !last && this.#saveIsDue();
          if (last || save || this.#reportIsDue()) yield await this.#report(learningRate);
          yield* this.#takeNotes();
          if (save) await this.#save();
        }
        const line = await this.#endEpoch(learningRate, signal);
        if (line === undefined) yield* this.#stop(signal!, learningRate);
        else yield { kind: "epoch", ...line };
      }
    } finally {
      await batches.return();
    }
  }

  /** The batch of the step that is next. */
  async #next(batches: AsyncGenerator<TrainingBatch, void>): Promise<TrainingBatch> {
    const { value } = await batches.next();
    if (value && value.epoch === this.#run.epoch && value.step === this.#run.step) return value;
    throw new Error("The batches ran out of step with the run.");
  }

  #saveIsDue(): boolean {
    const { checkpointMinutes = 10, checkpointSteps = Number.POSITIVE_INFINITY } = this.#options;
    return this.#unsaved >= checkpointSteps || performance.now() - this.#savedAt >= checkpointMinutes * 60_000;
  }

  #reportIsDue(): boolean {
    const { reportSeconds = 1, reportEverySteps } = this.#options;
    if (reportEverySteps !== undefined) return this.#run.step % reportEverySteps === 0;
    return performance.now() - this.#reportedAt >= reportSeconds * 1000;
  }

  *#takeNotes(): Generator<TrainingProgress> {
    for (const text of this.#notes.splice(0)) yield { kind: "note", text };
  }

  /** Reads the losses of the steps since the last report and adds them to the epoch's. */
  async #report(learningRate: number): Promise<TrainingProgress> {
    const report = await this.#engine.report();
    this.#checkFinite(report);
    const run = this.#run;
    const { lossWeights, batch, epochs } = run.recipe;
    const steps = this.#dataset.steps(batch);
    for (const term of Object.keys(run.sums)) run.sums[term]! += report.mean.sums[term]!;
    run.gradientNorm = report.gradientNorm;
    const now = performance.now();
    const elapsed = now - this.#reportedAt;
    const imagesPerSecond = (1000 * batch * this.#unreported) / Math.max(elapsed, 1e-3);
    this.#pace.steps += this.#unreported;
    this.#pace.milliseconds += elapsed;
    this.#reportedAt = now;
    this.#unreported = 0;
    const left = (epochs - run.epoch) * steps - run.step;
    const validations = (epochs - run.epoch) * this.#pace.validation;
    return {
      kind: "step",
      epoch: run.epoch + 1,
      epochs,
      step: run.step,
      steps,
      losses: withTotal(report.mean.losses, lossWeights),
      learningRate,
      gradientNorm: report.gradientNorm,
      imagesPerSecond,
      secondsLeft: ((left * this.#pace.milliseconds) / this.#pace.steps + validations) / 1000,
    };
  }

  #checkFinite({ brokenAt }: StepReport): void {
    if (brokenAt === undefined) return;
    const { epoch, recipe } = this.#run;
    const { lr, clip } = recipe;
    throw this.#broken(
      `A loss or a gradient of step ${brokenAt} (in epoch ${epoch + 1}) is not a finite number.`,
      `lower --lr than ${lr} or lower --clip than ${clip}${this.#host.tier === "f32" ? "" : ", or in --precision f32"}`,
    );
  }

  #broken(problem: string, cure: string): StylizingError {
    const last = join(this.#options.out, RUN_FILES.last);
    const fix = `The state before it is kept in ${last}, and so is the best model, if an epoch was done. Begin again in another folder with a ${cure}; --init ${last} takes up these weights.`;
    return new StylizingError("TRAINING", problem, fix);
  }

  /** Writes the state; every step of it has been reported as sound. */
  async #save(): Promise<void> {
    this.#count();
    const state = await this.#engine.readState();
    await writeRun(this.#options.out, this.#run, this.#task.shapes(this.#run.config), state);
    this.#unsaved = 0;
    this.#savedAt = performance.now();
  }

  /** Adds the time since the last call to the epoch's. */
  #count(): void {
    const now = performance.now();
    this.#run.seconds += (now - this.#countedFrom) / 1000;
    this.#countedFrom = now;
  }

  /** Ends the run before its end. */
  async *#stop(signal: AbortSignal, learningRate: number): AsyncGenerator<TrainingProgress, never> {
    if (this.#unreported > 0) yield await this.#report(learningRate);
    if (this.#unsaved > 0) await this.#save();
    const { epoch, step } = this.#run;
    yield { kind: "note", text: `stopped in epoch ${epoch + 1} after step ${step}; --resume goes on from there` };
    throw signal.reason;
  }

  /** Validates, and writes everything in an order that a kill cannot spoil. @returns nothing where the signal was raised. */
  async #endEpoch(learningRate: number, signal: AbortSignal | undefined): Promise<EpochReport | undefined> {
    const { out } = this.#options;
    const run = this.#run;
    const { recipe, config } = run;
    const shapes = this.#task.shapes(config);
    const start = performance.now();
    const judged = await evaluate(this.#engine, this.#task, run, this.#validation, signal);
    if (!judged) return undefined;
    const { total } = judged.losses;
    if (!Number.isFinite(total)) {
      const problem = `The losses of the validation images are not finite after epoch ${run.epoch + 1}.`;
      throw this.#broken(problem, `lower --lr than ${recipe.lr}`);
    }
    this.#pace.validation = performance.now() - start;
    this.#count();
    const steps = this.#dataset.steps(recipe.batch);
    const means = Object.fromEntries(Object.entries(run.sums).map(([term, sum]) => [term, sum / steps]));
    const state = await this.#engine.readState();
    const metrics = judged.judge.metrics();
    const { best: chosenBy = "loss" } = recipe;
    const value = chosenBy === "loss" ? total : metrics[chosenBy]!;
    const before = chosenBy === "loss" ? run.best?.loss : run.best?.value;
    const best = run.best === undefined || isBetter(value, before ?? Number.NaN, this.#task.bests[chosenBy]!);
    const line: EpochReport = {
      epoch: run.epoch + 1,
      step: state.step,
      learningRate,
      training: withTotal(means, recipe.lossWeights),
      validation: judged.losses,
      gradientNorm: run.gradientNorm,
      ...(metrics as TaskMetrics),
      best,
      seconds: run.seconds,
      imagesPerSecond: (steps * recipe.batch) / run.seconds,
    };
    if (best) {
      await writeModel(out, shapes, state, line);
      run.best = { epoch: line.epoch, loss: total, ...(chosenBy === "loss" ? {} : { value }) };
    }
    run.log.push(line);
    Object.assign(run, { epoch: run.epoch + 1, step: 0, sums: noLosses(Object.keys(run.sums)), gradientNorm: 0, seconds: 0 });
    // After the model that it knows of, and before the log, which is made from it.
    await writeRun(out, run, shapes, state);
    this.#unsaved = 0;
    this.#savedAt = performance.now();
    await writeLog(out, run.log);
    const title = `Training, ${this.#dataset.files.length} images, epoch ${line.epoch} of ${recipe.epochs}`;
    await writeFileAtomic(join(out, RUN_FILES.curve), curveSvg(run.log, recipe.lossWeights, recipe.epochs, title));
    await writeFigures(out, judged.judge, line, recipe.epochs);
    return line;
  }

  async #closeDevice(): Promise<void> {
    for (const part of [this.#engine, this.#host] as (AsyncDisposable | undefined)[]) {
      try {
        await part?.[Symbol.asyncDispose]();
      } catch {
        // What is lost already cannot be closed in good order.
      }
    }
  }

  /** Frees the device and ends the threads. Steps since the last state written are forgotten. Idempotent. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#closeDevice().then(() => this.#pool.dispose());
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
