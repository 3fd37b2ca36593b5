import { describeError, StylizingError } from "../errors.js";
import { writeFileAtomic } from "../image/atomic-write.js";
import { ImagePool } from "../image/pool.js";
import { cut } from "../image/preprocess.js";
import { contactSheet } from "../image/sheet.js";
import { measureStatistics } from "../models/batch.js";
import { describeModel } from "../models/load.js";
import { type FoundModel, findModel, withStatisticsOf } from "../models/open.js";
import { settleSizing } from "../painter/sizing.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import { FilePainter } from "./file-painter.js";
import type { InputFile } from "./inputs.js";
import { InputReader } from "./load.js";
import { checkRoomFor, checkSlides } from "./paint-slide.js";
import { prepareFiles } from "./prepare.js";
import type { ImagesReport, PaintFilesOptions, StylizeReport } from "./report.js";

/** Images that a model's unknown statistics are measured from. */
const MEASURED = 64;
/** Channels of the models that take images. */
const CHANNELS = [1, 3];

/**
 * Paints files. What cannot be read or written is reported and the rest is done; results appear whole or not at all.
 * @param signal stops between batches.
 * @param known the model, where it has been found already.
 * @returns without what is known of the model where nothing was left to do: it is not loaded then.
 * @throws StylizingError where nothing at all can be done: no inputs, results that exist already, no model, no adapter, no output folder.
 */
export async function paintFiles(
  given: PaintFilesOptions,
  signal?: AbortSignal,
  known?: FoundModel,
): Promise<StylizeReport | ImagesReport> {
  const { onNote, onProgress } = given;
  // Said now what does not go together; what the model's configuration decides is decided later.
  settleSizing(given, {});
  const { contents, styles, left, options, reportOn } = await prepareFiles({ ...given, needsStyle: true }, (files) =>
    checkSlides(files, given),
  );
  if (left.length === 0) return reportOn(new Map(), 0);

  const load = { ...options.load, ...(signal ? { signal } : {}) };
  const found = known ?? (await findModel(options.model, load));
  const { in_channels: channels } = found.config;
  for (const name of ["mean", "std"] as const) {
    const given = options[name];
    if (given && given.length !== channels) {
      const problem = `--${name} has ${given.length} numbers, and this model takes ${channels} channels.`;
      throw new StylizingError("ARGUMENT", problem, "Give one number a channel.");
    }
  }
  if (!CHANNELS.includes(channels))
    throw new StylizingError(
      "CONFIG",
      `This model takes ${channels} channels.`,
      "Images have 1 or 3; use `forward` with tensors.",
    );

  await checkRoomFor(left, contents, channels as 1 | 3, options);

  const start = performance.now();
  await using pool = new ImagePool(options.workers);
  if (pool.note) onNote?.(pool.note);
  const reader = new InputReader(pool, options, onNote);
  const measured = contents.filter(({ slide }) => !slide);
  const statistics = await settleStatistics(found.config, options, reader, measured, styles);
  await using model = await StylizingViT.loadFound(withStatisticsOf(found, statistics), {
    ...load,
    ...(options.batch ? { batchSize: options.batch } : {}),
  });
  const { adapter, tier } = model.report;
  onNote?.(describeModel(model.report));
  if (statistics.source.startsWith("measured")) {
    onNote?.(
      `mean ${statistics.mean.map((v) => v.toFixed(4))} and std ${statistics.std.map((v) => v.toFixed(4))} were measured from these images: none is published for this model`,
    );
  }

  const paintStart = performance.now();
  onProgress?.(0, left.length);
  const tell = (done: number) => onProgress?.(done, left.length);
  const painter = new FilePainter(model, pool, reader, options, contents, styles, tell);
  const report = reportOn(await painter.run(left, signal), performance.now() - paintStart);
  const { rows } = painter;
  const { stopReason } = painter.failures;

  let sheet: string | undefined;
  let sheetError: StylizeReport["sheetError"];
  if (options.sheet && rows.length > 0 && !stopReason) {
    const footer = `${model.report.model} · ${adapter.name} · ${tier} · ${report.done} images in ${((performance.now() - start) / 1000).toFixed(1)} s`;
    try {
      await writeFileAtomic(options.sheet, await contactSheet(rows, { title: "Stylizing ViT", footer }));
      sheet = options.sheet;
    } catch (error) {
      sheetError = describeError(error);
    }
  }
  return {
    ...model.report,
    ...report,
    statistics,
    ...(stopReason ? { stopReason } : {}),
    ...(sheet ? { sheet } : {}),
    ...(sheetError ? { sheetError } : {}),
    ...(painter.timing ? { timing: painter.timing } : {}),
  };
}

async function settleStatistics(
  config: { mean?: readonly number[]; std?: readonly number[]; image_size: number; in_channels: number },
  options: PaintFilesOptions,
  reader: InputReader,
  contents: readonly InputFile[],
  styles: readonly InputFile[],
): Promise<StylizeReport["statistics"]> {
  const mean = options.mean ?? config.mean;
  const std = options.std ?? config.std;
  if (mean && std) return { mean, std, source: options.mean || options.std ? "given" : "model" };
  const files = [...contents.slice(0, MEASURED), ...styles.slice(0, MEASURED)];
  const some = await reader.loadAll(files, config.image_size, config.in_channels);
  const images = some.flatMap((loaded) => ("image" in loaded ? [cut(loaded.image, loaded.image.placement)] : []));
  if (images.length === 0) {
    const failure = some.find((loaded) => "error" in loaded);
    throw failure && "error" in failure
      ? failure.error
      : new StylizingError("ARGUMENT", "No image can be read.", "Check the paths.");
  }
  const measured = measureStatistics(images);
  return { mean: mean ?? measured.mean, std: std ?? measured.std, source: "measured from these images" };
}
