import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, StylizingError } from "../src/errors.js";
import type { Gpu } from "../src/gpu/gpu.js";
import type { Tier } from "../src/gpu/profile.js";
import { SafetensorsFile } from "../src/hub/safetensors.js";
import { decodeImage } from "../src/image/decode.js";
import { listImages } from "../src/image/folder.js";
import { colourDistance } from "../src/image/metrics.js";
import { cut } from "../src/image/preprocess.js";
import { resize } from "../src/image/resize.js";
import type { PixelImage } from "../src/image/types.js";
import { matchColour, ssim } from "../src/index.js";
import { showImages } from "../src/losses/feature-loss.js";
import { findModel } from "../src/models/open.js";
import type { ModelConfig } from "../src/models/stylizing-vit/config.js";
import { Vgg } from "../src/models/vgg/features.js";
import { openVgg, SMALLEST_IMAGE } from "../src/models/vgg/weights.js";
import { asFloats, writeArray } from "../src/net/pixels.js";
import type { Recorder } from "../src/net/recorder.js";
import { Runner } from "../src/net/runner.js";
import { featureStatistics, paddedChannels } from "../src/ops/features.js";
import { Engine } from "../src/painter/engine.js";
import { toPlanes } from "./model.js";
import { number, percent, type Report } from "./report.js";
import { type Summary, summarize } from "./statistics.js";
import { lossError, VGG_SOURCE } from "./training-check.js";

/** Images on the device at a time. */
const AT_ONCE = 4;
/** Relative error of the style distances of the golden case against PyTorch's style loss. */
const BOUNDS: Readonly<Record<Tier, number>> = { f32: 1e-4, f16: 5e-2, matrix: 5e-2 };

export const MEASURES = ["ssim", "colour", "style"] as const;
export type Measure = (typeof MEASURES)[number];
const CANDIDATES = ["content", "match", "model"] as const;
type Candidate = (typeof CANDIDATES)[number];

export interface QualityRow {
  model: string;
  tier: Tier;
  imageSize: number;
  images: number;
  pairs: number;
  /** The content as it is, the closed-form colour match and the model's result, over pairs. */
  results: Record<Candidate, Record<Measure, Summary & { mean: number }>>;
  /** Share of pairs in which the model's result is the better one of the two. */
  modelWins: Record<Measure, number>;
}

/**
 * Ordered pairs of different images, all of them or `most`: each image is content as often as the others, give or take one, and
 * styles are spread over the whole list, whose neighbours are likely to look alike.
 */
export function choosePairs(count: number, most: number): [content: number, style: number][] {
  const wanted = Math.min(most, count * (count - 1));
  const rounds = Math.ceil(wanted / Math.max(1, count));
  return Array.from({ length: wanted }, (_, at) => {
    const round = Math.floor(at / count);
    const inRound = Math.min(count, wanted - round * count);
    const content = Math.floor(((at % count) * count) / inRound);
    const shift = 1 + Math.floor(((round + 0.5) * (count - 1)) / rounds);
    return [content, (content + shift) % count];
  });
}

/** Means and deviations of an image's features, by level: the first half of each array are means. */
export type StyleStatistics = readonly Float32Array[];

/** Σ over levels of the mean squared differences of means and of deviations: a pair's term of the training loss. */
export function styleDistance(a: StyleStatistics, b: StyleStatistics): number {
  let sum = 0;
  for (const [level, values] of a.entries()) {
    let squares = 0;
    for (let i = 0; i < values.length; i++) squares += (values[i]! - b[level]![i]!) ** 2;
    sum += squares / (values.length / 2);
  }
  return sum;
}

/** Measures images with a VGG-19 of random convolutions. */
export class StyleMeter implements Disposable {
  readonly #config: ModelConfig;
  readonly #vgg: Vgg;
  readonly #runner: Runner;

  private constructor(gpu: Gpu, config: ModelConfig, vgg: Vgg) {
    this.#config = config;
    this.#vgg = vgg;
    this.#runner = new Runner(gpu);
  }

  static async create(gpu: Gpu, config: ModelConfig): Promise<StyleMeter> {
    const { in_channels: channels, image_size: side } = config;
    await using source = await openVgg(VGG_SOURCE, channels);
    return gpu.checked("the style's features", async () => {
      return new StyleMeter(gpu, config, await Vgg.create(gpu, source, channels, side));
    });
  }

  #planes(r: Recorder) {
    const { in_channels: channels, image_size: side } = this.#config;
    return r.scratch("planes", AT_ONCE, channels * side ** 2, "f32");
  }

  /** Means and deviations of a level, [images, 2, channels] f32. */
  #statistics(r: Recorder, level: number) {
    return r.scratch(`statistics ${level}`, AT_ONCE, 2 * paddedChannels(this.#vgg.levels[level]!.channels), "f32");
  }

  #record(r: Recorder): void {
    const { in_channels: channels, image_size: imageSize } = this.#config;
    showImages(r, this.#vgg, { images: AT_ONCE, channels, imageSize, planes: this.#planes(r) });
    const features = this.#vgg.features(r, AT_ONCE, "level");
    for (const [level, geometry] of this.#vgg.levels.entries())
      r.emit(featureStatistics, { images: AT_ONCE, ...geometry, maps: features[level]!, statistics: this.#statistics(r, level) });
  }

  /** @param planes [images, C, S, S], normalised. */
  async measure(planes: Float32Array): Promise<StyleStatistics[]> {
    const each = this.#config.in_channels * this.#config.image_size ** 2;
    const found: StyleStatistics[] = [];
    for (let first = 0; first < planes.length / each; first += AT_ONCE) {
      const some = planes.subarray(first * each, (first + AT_ONCE) * each);
      const levels = await this.#run(some);
      for (let at = 0; at < some.length / each; at++) {
        found.push(
          levels.map((values) => {
            const length = values.length / AT_ONCE;
            return values.slice(at * length, (at + 1) * length);
          }),
        );
      }
    }
    return found;
  }

  async #run(planes: Float32Array): Promise<Float32Array[]> {
    const { arena } = this.#runner;
    const read = await this.#runner.run(async () => {
      const { program } = await this.#runner.program("style", "the style's features", (r) => this.#record(r));
      return {
        label: "style",
        programs: [program],
        upload: () => writeArray(this.#runner.gpu.device.queue, arena.buffer("planes"), planes),
        reads: this.#vgg.levels.map(({ channels }, level) => ({
          buffer: arena.buffer(`statistics ${level}`),
          bytes: 4 * AT_ONCE * 2 * paddedChannels(channels),
        })),
      };
    });
    return read.map(asFloats);
  }

  [Symbol.dispose](): void {
    this.#runner.dispose();
    this.#vgg.dispose();
  }
}

/** The style loss of the golden case, out of stylized images and this meter, off from PyTorch's. */
export async function styleError(gpu: Gpu, root: string): Promise<number> {
  const folder = join(root, "test", "fixtures", "nano");
  const { config, steps } = JSON.parse(await readFile(join(folder, "training.json"), "utf8"));
  await using golden = await SafetensorsFile.open(join(folder, "training.safetensors"));
  const content = await golden.read("images");
  const found = await findModel(join(folder, "weights.safetensors"), { config });
  await using source = await found.open();
  const each = config.in_channels * config.image_size ** 2;
  const images = content.length / each;
  const style = Float32Array.from(content, (_, at) => content[(at + each) % content.length]!);
  const engine = await Engine.create(gpu, config, source);
  using meter = await StyleMeter.create(gpu, config);
  try {
    const stylized = asFloats(await engine.run({ mode: "pair", images, input: "planes", output: "planes", content, style }));
    const [of, wanted] = [await meter.measure(stylized), await meter.measure(style)];
    const loss = of.reduce((sum, one, i) => sum + styleDistance(one, wanted[i]!), 0) / images;
    return lossError({ ...steps[0], style: loss }, steps[0]);
  } finally {
    engine.dispose();
  }
}

/** The central square of an image, scaled: no padding, which colour statistics would count as stain. */
async function readSquare(file: string, { image_size: size, in_channels }: ModelConfig): Promise<PixelImage> {
  const image = await decodeImage(file, { channels: in_channels as 1 | 3 });
  const side = Math.min(image.width, image.height);
  const square = cut(image, { left: (image.width - side) >> 1, top: (image.height - side) >> 1, width: side, height: side });
  return resize(square, size, size);
}

export interface QualityRequest {
  folder: string;
  model: string;
  pairs: number;
  root: string;
}

/** A model's results and the closed-form colour match's, by what they keep of the content and take of the style. */
export async function benchQuality(
  gpu: Gpu,
  { folder, model, pairs: most, root }: QualityRequest,
  report: Report,
): Promise<void> {
  const { tier } = gpu.profile;
  const rows = report.section<QualityRow>("quality", `Quality of ${model}, ${tier}, on pairs of images from ${folder}`);
  const error = await styleError(gpu, root);
  if (!(error <= BOUNDS[tier])) {
    report.fail("quality", `the style distance of the golden case is off by ${error.toExponential(1)}, ${BOUNDS[tier]} allowed`);
    return;
  }
  const found = await findModel(model);
  const { config } = found;
  if (!config.mean || !config.std || config.image_size < SMALLEST_IMAGE) {
    report.fail(
      "quality",
      `${found.label} has ${config.image_size < SMALLEST_IMAGE ? `images of less than ${SMALLEST_IMAGE} pixels` : "no mean and std beside it"}`,
    );
    return;
  }
  const images: PixelImage[] = [];
  for (const { path: file, name } of await listImages(folder)) {
    try {
      images.push(await readSquare(file, config));
    } catch (caught) {
      if (!(caught instanceof StylizingError)) throw caught;
      report.line(`left out ${name}: ${messageOf(caught)}`);
    }
  }
  const pairs = choosePairs(images.length, most);
  if (pairs.length === 0) {
    report.fail("quality", `${folder} has ${images.length} images, and it takes two`);
    return;
  }
  report.line(
    `${pairs.length} of ${images.length * (images.length - 1)} ordered pairs of ${images.length} images, their central squares at ${config.image_size} px`,
  );

  await using source = await found.open();
  const engine = await Engine.create(gpu, config, source);
  const values = Object.fromEntries(
    CANDIDATES.map((candidate) => [candidate, { ssim: [] as number[], colour: [] as number[], style: [] as number[] }]),
  ) as Record<Candidate, Record<Measure, number[]>>;
  try {
    using meter = await StyleMeter.create(gpu, config);
    const joined = (images: readonly PixelImage[]) => {
      const each = images[0]!.data.length;
      const all = new Uint8Array(images.length * each);
      for (const [at, { data }] of images.entries()) all.set(data, at * each);
      return all;
    };
    const measured = (images: readonly PixelImage[]) => meter.measure(toPlanes(joined(images), config));
    const styles = await measured(images);
    for (let first = 0; first < pairs.length; first += AT_ONCE) {
      const some = pairs.slice(first, first + AT_ONCE);
      const contents = some.map(([content]) => images[content]!);
      const wanted = some.map(([, style]) => images[style]!);
      const bytes = (await engine.run({
        mode: "pair",
        images: some.length,
        input: "bytes",
        output: "bytes",
        content: joined(contents),
        style: joined(wanted),
      })) as Uint8Array;
      const each = bytes.length / some.length;
      const results: Record<Candidate, PixelImage[]> = {
        content: contents,
        match: contents.map((content, i) => matchColour(content, wanted[i]!)),
        model: contents.map((content, i) => ({ ...content, data: bytes.slice(i * each, (i + 1) * each) })),
      };
      for (const candidate of CANDIDATES) {
        const features = candidate === "content" ? some.map(([at]) => styles[at]!) : await measured(results[candidate]);
        for (const [i, [, style]] of some.entries()) {
          const of = values[candidate];
          of.ssim.push(ssim(results[candidate][i]!, contents[i]!));
          of.colour.push(colourDistance(results[candidate][i]!, wanted[i]!));
          of.style.push(styleDistance(features[i]!, styles[style]!));
        }
      }
    }
  } finally {
    engine.dispose();
  }
  const described = (samples: readonly number[]) => ({
    mean: samples.reduce((a, b) => a + b, 0) / samples.length,
    ...summarize(samples),
  });
  const better = (measure: Measure) => {
    const { match, model: ours } = values;
    const gains = ours[measure].map((value, i) => (measure === "ssim" ? value - match[measure][i]! : match[measure][i]! - value));
    return gains.filter((gain) => gain > 0).length / gains.length;
  };
  const row: QualityRow = {
    model: found.label,
    tier,
    imageSize: config.image_size,
    images: images.length,
    pairs: pairs.length,
    results: Object.fromEntries(
      CANDIDATES.map((candidate) => [
        candidate,
        Object.fromEntries(MEASURES.map((measure) => [measure, described(values[candidate][measure])])),
      ]),
    ) as QualityRow["results"],
    modelWins: Object.fromEntries(MEASURES.map((measure) => [measure, better(measure)])) as QualityRow["modelWins"],
  };
  rows.push(row);
  print(row, report);
}

function print({ results, modelWins }: QualityRow, report: Report): void {
  report.table(
    ["mean (p10 to p90) over pairs", 44],
    ["SSIM to content", 24],
    ["colours from style", 30],
    ["features from style", 24],
  );
  const line = (name: string, of: (measure: Measure) => string) => report.row(name, ...MEASURES.map(of));
  for (const [candidate, name] of [
    ["content", "the content, unchanged"],
    ["match", "colour match, closed form (no model)"],
    ["model", "the model"],
  ] as const) {
    line(name, (measure) => {
      const { mean, p10, p90 } = results[candidate][measure];
      return `${number(mean)} (${number(p10)} to ${number(p90)})`;
    });
  }
  line("pairs in which the model is the better one", (measure) => percent(modelWins[measure]));
  report.line(
    "SSIM: more is better; distances: less is better. Features are those of random convolutions. LPIPS and FID need trained networks, which this bench does not have.",
  );
}
