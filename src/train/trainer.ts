import { join } from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import type { AdapterReport } from "../gpu/gpu.js";
import type { Tier } from "../gpu/profile.js";
import { ensureOutputFolder, writeFileAtomic } from "../image/atomic-write.js";
import { ImagePool } from "../image/pool.js";
import { cut } from "../image/preprocess.js";
import { contactSheet, type SheetRow } from "../image/sheet.js";
import type { PixelImage } from "../image/types.js";
import { checkConfig, type ModelConfig } from "../model/config.js";
import { givenConfig } from "../model/open.js";
import { versions } from "../version.js";
import {
  type PictureList,
  type Recipe,
  RUN_FILES,
  type RunState,
  readRun,
  readState,
  refuseDifferences,
  refuseForeignFolder,
  removePartialFiles,
  writeConfig,
  writeLog,
  writeModel,
  writeRun,
} from "./checkpoint.js";
import { curveSvg } from "./curve.js";
import {
  Dataset,
  type DatasetOptions,
  fingerprint,
  listDataset,
  loadValidation,
  type PictureFile,
  stepsOf,
  type TrainingBatch,
  type ValidationSet,
} from "./dataset.js";
import { type HostOptions, type OpenHost, openTrainingHost, type TrainingHost } from "./host.js";
import { colourDistance, psnr, ssim } from "./metrics.js";
import { checkOptions, DEFAULTS, firstModel, givenRecipe, refuse, type TrainerOptions } from "./options.js";
import type { EpochReport, LossReport, TrainingProgress } from "./progress.js";
import { LOSS_TERMS, type Losses, type StepReport, type TrainingEngine, totalLoss } from "./types.js";

export type { PrepareProgress, TrainerOptions } from "./options.js";

/** What is trained on what. */
export interface TrainerReport {
  out: string;
  config: ModelConfig;
  recipe: Recipe;
  microBatch: number;
  /** Readable training pictures, those that are not, validation pictures, and steps an epoch. */
  pictures: number;
  unreadable: number;
  validation: number;
  steps: number;
  /** Epochs done when the trainer was made, and steps of the one after them. */
  resumed: { epoch: number; step: number } | undefined;
  deviceBytes: number;
  adapter: AdapterReport;
  tier: Tier;
  versions: { "stylizing-vit": string; webgpu: string; node: string };
}

/** Pictures whose reconstructions and results are measured in an epoch: the rest would only take time. */
const MEASURED = 128;
const SHEET_PAIRS = 6;
/** Sheets that a run keeps, beside the latest. */
const KEPT_SHEETS = 10;

const noLosses = (): Losses => ({ identity: 0, consistency: 0, anatomical: 0, style: 0 });

function hostOptions(options: TrainerOptions, vgg: string, channels: number): HostOptions {
  const { signal, onProgress, adapter, precision, tune } = options;
  return {
    vgg,
    channels,
    signal,
    onProgress: ({ loaded, total }) => onProgress?.({ phase: "download", loaded, total }),
    ...(adapter === undefined ? {} : { adapter }),
    ...(precision === undefined ? {} : { precision }),
    ...(tune === undefined ? {} : { tune }),
  };
}

/** Reads all training pictures once and settles what is measured over them. */
async function beginRun(
  { mean, std, signal, onProgress, onNote }: TrainerOptions,
  files: readonly PictureFile[],
  pictures: DatasetOptions,
  known: Pick<RunState, "config" | "recipe" | "data" | "validation">,
): Promise<{ dataset: Dataset; run: RunState }> {
  const onRead = (loaded: number, total: number) => onProgress?.({ phase: "measure", loaded, total });
  const { dataset, unreadable, ...measured } = await Dataset.open(files, pictures, { signal, onProgress: onRead });
  const statistics = { mean: mean ?? known.config.mean, std: std ?? known.config.std };
  if (!statistics.mean || !statistics.std) {
    const values = `mean ${measured.mean.join(",")} and std ${measured.std.join(",")}`;
    onNote?.(`${values} were measured over ${dataset.files.length} pictures`);
  }
  const config = checkConfig({
    ...known.config,
    mean: statistics.mean ?? measured.mean,
    std: statistics.std ?? measured.std,
  });
  const run = { ...known, config, unreadable, epoch: 0, step: 0, sums: noLosses(), gradientNorm: 0, seconds: 0, log: [] };
  return { dataset, run };
}

/** Validation batches of two or more, as even as can be; an odd picture that batches of two leave over is left out. */
export function evaluationBatches(count: number, batch: number): { from: number; count: number }[] {
  const usable = batch === 2 ? count - (count % 2) : count;
  const parts = Math.ceil(usable / batch);
  return Array.from({ length: parts }, (_, i) => {
    const from = Math.floor((i * usable) / parts);
    return { from, count: Math.floor(((i + 1) * usable) / parts) - from };
  });
}

/**
 * Trains a Stylizing ViT on folders of pictures, by the published recipe unless told otherwise. A run lives in a folder and
 * can be stopped at any moment, by a signal or a power cut, and resumed: what it writes is then the same to the bit on the same
 * adapter. `dispose()` it, or use `await using`.
 */
export class Trainer implements AsyncDisposable {
  readonly #options: TrainerOptions;
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
  /** Notes that came while batches were prepared. */
  readonly #notes: string[] = [];
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

  private constructor(
    options: TrainerOptions,
    openHost: OpenHost,
    parts: {
      pool: ImagePool;
      dataset: Dataset;
      validation: ValidationSet;
      run: RunState;
      host: TrainingHost;
      resumed: boolean;
    },
  ) {
    this.#options = options;
    this.#openHost = openHost;
    this.#pool = parts.pool;
    this.#dataset = parts.dataset;
    this.#validation = parts.validation;
    this.#run = parts.run;
    this.#host = parts.host;
    this.#resumed = parts.resumed ? { epoch: parts.run.epoch, step: parts.run.step } : undefined;
  }

  /**
   * Reads all pictures once, opens a device and puts the weights there: the first ones, or those of the run that is resumed.
   * @throws StylizingError `ARGUMENT` (also where the folder holds a run and `resume` is not set, or one of other options),
   *   `CONFIG`, `CHECKPOINT`, `DOWNLOAD`, `IMAGE`, `OUTPUT`, `NO_ADAPTER` or `GPU`; the signal's reason when aborted.
   * @param openHost for tests.
   */
  static async create(options: TrainerOptions, openHost: OpenHost = openTrainingHost): Promise<Trainer> {
    checkOptions(options);
    const { out, signal, onNote } = options;
    signal?.throwIfAborted();
    const files = await listDataset(options.data, out, "training pictures");
    const others = await listDataset(options.val, out, "validation pictures");
    await ensureOutputFolder(out);
    const saved = await readRun(out);
    const [data, validation] = [files, others].map((list): PictureList => ({ hash: fingerprint(list), count: list.length })) as [
      PictureList,
      PictureList,
    ];
    if (!saved) await refuseForeignFolder(out);
    else if (!options.resume) {
      const where = `${saved.epoch} of ${saved.recipe.epochs} epochs`;
      refuse(`${out} holds a run already (${where} done).`, "Go on with it by --resume, or give another folder with --out.");
    }
    if (options.resume && !saved) onNote?.(`there is no run to resume in ${out}: beginning one`);
    await removePartialFiles(out);

    const recipe = givenRecipe(options);
    let config: ModelConfig;
    let weights: Awaited<ReturnType<typeof firstModel>>["weights"] | undefined;
    if (saved) {
      const { imageSize, preset, mean, std, init } = options;
      const asked =
        init === undefined || options.config !== undefined ? await givenConfig({ preset, config: options.config }) : {};
      const sized = imageSize === undefined ? {} : { image_size: imageSize };
      const { mean: ownMean, std: ownStd, ...shape } = { mean: undefined, std: undefined, ...asked };
      refuseDifferences(out, saved, {
        config: { ...shape, ...sized, mean: mean ?? ownMean, std: std ?? ownStd } as Partial<ModelConfig>,
        recipe,
        data,
        validation,
      });
      config = saved.config;
    } else {
      const first = await firstModel(options, recipe.seed ?? DEFAULTS.seed);
      config = first.config;
      weights = first.weights;
    }
    if (config.in_channels !== 1 && config.in_channels !== 3)
      throw new StylizingError("CONFIG", `This model takes ${config.in_channels} channels.`, "Pictures have 1 or 3.");
    const settled: Recipe = saved?.recipe ?? { ...DEFAULTS, ...recipe };

    stepsOf(files.length, settled.crops, settled.batch);

    const pool = new ImagePool(options.workers);
    let host: TrainingHost | undefined;
    let trainer: Trainer | undefined;
    try {
      if (pool.note) onNote?.(pool.note);
      let tell = onNote;
      const base = {
        size: config.image_size,
        channels: config.in_channels as 1 | 3,
        pool,
        onUnreadable: ({ path }: PictureFile, error: StylizingError) => tell?.(`left out ${path}: ${error.message}`),
      };
      const judged = await loadValidation(others, settled.validationImages, base, signal);
      // Before all training pictures are read, which may take a while: there may be no device, or no network.
      host = await openHost(hostOptions(options, settled.vgg, config.in_channels));
      const { seed, crop, crops: cropsPerImage, flips } = settled;
      const pictures = { ...base, seed, crop, cropsPerImage, flips, cacheBytes: options.cacheBytes ?? 2 ** 30 };
      const { dataset, run } = saved
        ? { dataset: Dataset.reopen(files, saved.unreadable, pictures), run: saved }
        : await beginRun(options, files, pictures, { config, recipe: settled, data, validation });
      dataset.steps(settled.batch);
      trainer = new Trainer(options, openHost, { pool, dataset, validation: judged, run, host, resumed: saved !== undefined });
      const notes = trainer.#notes;
      tell = (text) => notes.push(text);
      await trainer.#openEngine(weights);
      return trainer;
    } catch (error) {
      if (trainer) await trainer.dispose();
      else {
        await host?.[Symbol.asyncDispose]();
        await pool.dispose();
      }
      throw error;
    }
  }

  /**
   * Puts the run's weights on the device.
   * @param first makes them where the folder holds no run yet: it then is begun.
   */
  async #openEngine(first?: (config: ModelConfig) => Promise<Map<string, Float32Array>>): Promise<void> {
    const { out, microBatch, recompute = false } = this.#options;
    const { config, recipe } = this.#run;
    const state = first ? undefined : await readState(out, config);
    const { batch, lossWeights, clip, weightDecay } = recipe;
    const initial = state?.parameters ?? (await first!(config));
    const fixed = { batch, lossWeights, clip, weightDecay, recompute, initial, onNote: (text: string) => this.#notes.push(text) };
    this.#engine = await this.#host.createEngine(config, { ...fixed, ...(microBatch === undefined ? {} : { microBatch }) });
    if (state) await this.#engine.writeState(state);
    else {
      await writeConfig(out, this.#run);
      await writeRun(out, this.#run, await this.#engine.readState());
    }
    await writeLog(out, this.#run.log);
  }

  get report(): TrainerReport {
    const { config, recipe, data } = this.#run;
    const { adapter, tier } = this.#host;
    const pictures = this.#dataset.files.length;
    return {
      out: this.#options.out,
      config,
      recipe,
      microBatch: this.#engine.microBatch,
      pictures,
      unreadable: data.count - pictures,
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
    this.#host = await this.#openHost(hostOptions(this.#options, run.recipe.vgg, run.config.in_channels));
    await this.#openEngine();
  }

  async *#train(signal: AbortSignal | undefined): AsyncGenerator<TrainingProgress, void> {
    const run = this.#run;
    const { batch, epochs, lr } = run.recipe;
    const steps = this.#dataset.steps(batch);
    const batches = this.#dataset.batches({ batch, epochs, from: { epoch: run.epoch, step: run.step } });
    this.#savedAt = performance.now();
    try {
      while (run.epoch < epochs) {
        const learningRate = cosine(lr, run.epoch, epochs);
        this.#countedFrom = performance.now();
        this.#reportedAt = performance.now();
        while (run.step < steps) {
          if (signal?.aborted) yield* this.#stop(signal, learningRate);
          const { images } = await this.#next(batches);
          await this.#engine.step(images, learningRate);
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
    for (const term of LOSS_TERMS) run.sums[term] += report.mean.sums[term];
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
    await writeRun(this.#options.out, this.#run, state);
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
    const start = performance.now();
    const judged = await this.#evaluate(signal);
    if (!judged) return undefined;
    const { total } = judged.losses;
    if (!Number.isFinite(total)) {
      const problem = `The losses of the validation pictures are not finite after epoch ${run.epoch + 1}.`;
      throw this.#broken(problem, `lower --lr than ${recipe.lr}`);
    }
    this.#pace.validation = performance.now() - start;
    this.#count();
    const steps = this.#dataset.steps(recipe.batch);
    const means = Object.fromEntries(LOSS_TERMS.map((term) => [term, run.sums[term] / steps])) as Losses;
    const state = await this.#engine.readState();
    const best = run.best === undefined || total < run.best.loss;
    const line: EpochReport = {
      epoch: run.epoch + 1,
      step: state.step,
      learningRate,
      training: withTotal(means, recipe.lossWeights),
      validation: judged.losses,
      gradientNorm: run.gradientNorm,
      psnr: judged.psnr,
      ssim: judged.ssim,
      colour: judged.colour,
      best,
      seconds: run.seconds,
      imagesPerSecond: (steps * recipe.batch) / run.seconds,
    };
    if (best) {
      await writeModel(out, config, state, line);
      run.best = { epoch: line.epoch, loss: total };
    }
    run.log.push(line);
    Object.assign(run, { epoch: run.epoch + 1, step: 0, sums: noLosses(), gradientNorm: 0, seconds: 0 });
    // After the model that it knows of, and before the log, which is made from it.
    await writeRun(out, run, state);
    this.#unsaved = 0;
    this.#savedAt = performance.now();
    await writeLog(out, run.log);
    const title = `Training, ${this.#dataset.files.length} pictures, epoch ${line.epoch} of ${recipe.epochs}`;
    await writeFileAtomic(join(out, RUN_FILES.curve), curveSvg(run.log, recipe.lossWeights, recipe.epochs, title));
    await this.#writeSheet(judged.rows, line);
    return line;
  }

  async #writeSheet(rows: readonly SheetRow[], { epoch, validation }: EpochReport): Promise<void> {
    const { out } = this.#options;
    const { epochs } = this.#run.recipe;
    const sheet = await contactSheet(rows, {
      layout: "pairs",
      title: `Epoch ${epoch} of ${epochs}`,
      footer: `validation loss ${validation.total.toPrecision(4)}`,
    });
    await writeFileAtomic(join(out, RUN_FILES.sheet), sheet);
    if (epoch !== 1 && epoch !== epochs && epoch % Math.ceil(epochs / KEPT_SHEETS) !== 0) return;
    const folder = join(out, RUN_FILES.sheets);
    await ensureOutputFolder(folder);
    await writeFileAtomic(join(folder, `epoch-${String(epoch).padStart(4, "0")}.png`), sheet);
  }

  /** The validation pictures in fixed batches. */
  async #evaluate(
    signal: AbortSignal | undefined,
  ): Promise<{ losses: LossReport; psnr: number; ssim: number; colour: number; rows: SheetRow[] } | undefined> {
    const { image_size: size, in_channels } = this.#run.config;
    const { files, images, placements } = this.#validation;
    const { lossWeights, batch } = this.#run.recipe;
    const each = size * size * in_channels;
    const batches = evaluationBatches(files.length, batch);
    const count = batches.reduce((sum, part) => sum + part.count, 0);
    const pairs = Math.min(SHEET_PAIRS, count);
    const shown = new Set(Array.from({ length: pairs }, (_, i) => Math.floor((i * count) / pairs)));
    const measured = Math.min(MEASURED, count);
    const sums = noLosses();
    const quality = { psnr: 0, ssim: 0, colour: 0 };
    const rows: SheetRow[] = [];
    for (const part of batches) {
      if (signal?.aborted) return undefined;
      const pixels = images.subarray(part.from * each, (part.from + part.count) * each);
      const { losses, stylized, reconstruction } = await this.#engine.evaluate(pixels);
      for (const term of LOSS_TERMS) sums[term] += losses[term] * part.count;
      for (let i = 0; i < part.count; i++) {
        const index = part.from + i;
        const style = part.from + ((i + 1) % part.count);
        // Without the padding, which no result is about.
        const image = (data: Uint8Array, at: number, of: number): PixelImage => {
          const whole = data.subarray(at * each, (at + 1) * each);
          return cut({ data: whole, width: size, height: size, channels: in_channels as 1 | 3 }, placements[of]!);
        };
        const content = image(images, index, index);
        const [result, again] = [image(stylized, i, index), image(reconstruction, i, index)];
        const target = image(images, style, style);
        if (index < measured) {
          quality.psnr += Math.min(psnr(content, again), 100) / measured;
          quality.ssim += ssim(content, again) / measured;
          quality.colour += colourDistance(result, target) / measured;
        }
        if (!shown.has(index)) continue;
        const [{ name }, { name: other }] = [files[index]!, files[style]!];
        rows.push({
          content: { name, image: content },
          style: { name: other, image: target },
          result: { name: "", image: result },
          reconstruction: { name: "", image: again },
        });
      }
    }
    const means = Object.fromEntries(LOSS_TERMS.map((term) => [term, sums[term] / count])) as Losses;
    return { losses: withTotal(means, lossWeights), ...quality, rows };
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

/** The learning rate of an epoch, from 0. */
function cosine(lr: number, epoch: number, epochs: number): number {
  return 0.5 * lr * (1 + Math.cos((Math.PI * epoch) / epochs));
}

const withTotal = (losses: Losses, weights: Losses): LossReport => ({ ...losses, total: totalLoss(losses, weights) });
