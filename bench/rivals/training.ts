import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../src/errors.js";
import type { Tier } from "../../src/gpu/profile.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import type { ModelConfig } from "../../src/models/stylizing-vit/config.js";
import type { Losses } from "../../src/models/stylizing-vit/losses.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { openVgg } from "../../src/models/vgg/weights.js";
import type { LossSums } from "../../src/train/types.js";
import { toPlanes } from "../model.js";
import { duration, number, type Report } from "../report.js";
import { median, type Summary, summarize } from "../statistics.js";
import { LEARNING_RATE, lossError, VGG_SOURCE } from "../training-check.js";
import { Rival, RivalFailure, startTorch } from "./rival.js";

/** Relative difference of each loss of the first step: in f32, and where one of the two computes in 16 bits. */
const BOUNDS = { f32: 1e-3, float16: 2e-2 };

const VARIANTS = [
  ["eager f32", "PyTorch eager f32, as published"],
  ["eager f16", "PyTorch eager f16, autocast, SDPA"],
] as const;

export interface TrainingRivalRow {
  model: string;
  batch: number;
  /** Ours. */
  tier: Tier;
  rival: string;
  /** Its version and where it ran. */
  version: string;
  /** Relative difference of the first step's losses, the largest of the four. */
  lossDifference?: number;
  /** Milliseconds of a step, its and ours in the turns between. */
  milliseconds?: Summary;
  ours?: Summary;
  pairsPerSecond?: number;
  /** Its time over ours: the median of neighbouring steps. */
  ratio?: number;
  /** Why there are no times. */
  skipped?: string;
}

export interface TrainingMatch {
  title: string;
  model: string;
  config: ModelConfig;
  batch: number;
  tier: Tier;
  /** [batch, S, S, C] bytes; the style of each is the next one. */
  images: Uint8Array;
  /** Losses of the first weights, one step, and milliseconds that one takes. */
  ours: { losses: LossSums; step(): Promise<number>; once: number };
  budget: number;
}

/** PyTorch training the same weights on the same images against the same VGG-19. */
export class TrainingRivals implements AsyncDisposable {
  readonly #folder: string;
  readonly #patience: number;
  #torch: Rival | RivalFailure;
  /** Whether the VGG-19 of so many channels is written. */
  #channels = 0;

  private constructor(folder: string, torch: Rival | RivalFailure, patience: number) {
    this.#folder = folder;
    this.#torch = torch;
    this.#patience = patience;
  }

  static async start(root: string, software: boolean, report: Report): Promise<TrainingRivals> {
    const torch = await startTorch(root).catch((error: RivalFailure) => error);
    if (torch instanceof Rival) report.line(`rival: ${torch.hello.name}, ${torch.hello.device}`);
    return new TrainingRivals(await mkdtemp(join(tmpdir(), "stylizing-vit-training-")), torch, software ? 120_000 : 60_000);
  }

  get #vgg() {
    return join(this.#folder, "vgg.safetensors");
  }

  /** Hands over a model's first weights. */
  async load(config: ModelConfig, weights: ReadonlyMap<string, Float32Array>): Promise<void> {
    if (!(this.#torch instanceof Rival)) return;
    const shapes = parameterShapes(config);
    const file = join(this.#folder, "weights.safetensors");
    await writeSafetensors(file, [...weights].map(([key, data]) => [key, { shape: shapes.get(key)!, data }] as const)); // biome-ignore format: one line
    if (this.#channels !== config.in_channels) {
      await using vgg = await openVgg(VGG_SOURCE, config.in_channels);
      await writeSafetensors(this.#vgg, [...vgg.shapes].map(([key, shape]) => [key, { shape, data: () => vgg.read(key) }] as const)); // biome-ignore format: one line
      this.#channels = config.in_channels;
    }
    try {
      await this.#torch.ask("load", { weights: file, config }, this.#patience);
    } catch (error) {
      if (!(error instanceof RivalFailure)) throw error;
      this.#torch[Symbol.dispose]();
      this.#torch = error;
    }
  }

  /** Each variant in turns with ours, once its losses are ours. */
  async compete(match: TrainingMatch, report: Report): Promise<void> {
    const rows = report.section<TrainingRivalRow>("trainingRivals", `${match.title}, ours in ${match.tier}, beside PyTorch`);
    report.table(["rival", 46], ["losses off", 10], ["a step", 9], ["pairs/s", 9], ["ours", 9], ["ours over it", 12]);
    const common = { model: match.model, batch: match.batch, tier: match.tier };
    if (!(this.#torch instanceof Rival)) {
      const skipped = messageOf(this.#torch);
      rows.push({ ...common, rival: "PyTorch", version: "", skipped });
      report.line(`PyTorch: not measured: ${skipped}`);
      return;
    }
    const { hello } = this.#torch;
    const inputs = join(this.#folder, "inputs.safetensors");
    const { config, batch, images } = match;
    const shape = [batch, config.in_channels, config.image_size, config.image_size];
    const data = toPlanes(images, config);
    await writeSafetensors(inputs, (["content", "style"] as const).map((name) => [name, { shape, data }] as const)); // biome-ignore format: one line
    for (const [variant, what] of VARIANTS) {
      const rival = `${what}${variant === "eager f32" && hello.cuda ? ", no TF32" : ""}`;
      const row: TrainingRivalRow = { ...common, rival, version: `${hello.name}, ${hello.device}` };
      rows.push(row);
      try {
        await this.#torch.ask("load", { inputs }, this.#patience);
        await this.#turns(this.#torch, variant, match, row, report);
      } catch (error) {
        if (!(error instanceof RivalFailure)) throw error;
        row.skipped = messageOf(error);
        report.line(`${rival.padEnd(46)}  not measured: ${row.skipped}`);
      }
      await this.#torch.ask("train_free", {}, this.#patience).catch(() => {});
    }
  }

  async #turns(torch: Rival, variant: string, match: TrainingMatch, row: TrainingRivalRow, report: Report): Promise<void> {
    const { ours, tier, title, budget } = match;
    type Answer = { milliseconds: number; losses: Losses };
    const request = { variant, vgg: this.#vgg, learning_rate: LEARNING_RATE };
    const { losses } = await torch.ask<Answer>("train", request, 2 * this.#patience);
    const allowed = variant === "eager f32" && tier === "f32" ? BOUNDS.f32 : BOUNDS.float16;
    const difference = lossError(losses, ours.losses as Losses);
    row.lossDifference = difference;
    if (!(difference <= allowed)) {
      row.skipped = `its losses are off by ${difference.toExponential(1)} from ours, ${allowed} allowed`;
      report.fail(`${title}, ${row.rival}`, row.skipped);
      return;
    }
    const step = async () => (await torch.ask<Answer>("train_step", {}, this.#patience)).milliseconds;
    const once = (await step()) + ours.once;
    const rounds = Math.max(once > budget ? 1 : 3, Math.min(25, Math.round(budget / once)));
    const [theirs, own]: [number[], number[]] = [[], []];
    for (let i = 0; i < rounds; i++) {
      own.push(await ours.step());
      theirs.push(await step());
    }
    row.milliseconds = summarize(theirs);
    row.ours = summarize(own);
    row.pairsPerSecond = (1000 * match.batch) / row.milliseconds.median;
    row.ratio = median(theirs.map((time, i) => time / own[i]!));
    report.row(
      row.rival,
      difference.toExponential(1),
      duration(row.milliseconds.median),
      number(row.pairsPerSecond),
      duration(row.ours.median),
      number(row.ratio),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#torch instanceof Rival) this.#torch[Symbol.dispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
