import { extname } from "node:path";
import { Restorer } from "../detail/restorer.js";
import { StylizingError } from "../errors.js";
import { type AdapterChoice, type AdapterReport, adapterReport } from "../gpu/gpu.js";
import { ensureOutputFile } from "../image/atomic-write.js";
import { decodeImage } from "../image/decode.js";
import { type OutputFormat, saveImage } from "../image/encode.js";
import { resize } from "../image/resize.js";
import { GLASS } from "../image/tissue-weight.js";
import { wholeOf } from "../image/types.js";
import { openDevice } from "../models/device.js";
import { checkOutputs, refuseExisting } from "./outputs.js";

export interface RestoreFileOptions {
  content: string;
  /** What was painted of it, of any size. */
  painted: string;
  /** The content as it was painted from; without it the content is scaled to the size of `painted`. */
  low?: string | undefined;
  radius: number;
  epsilon: number;
  background: "keep" | "paint";
  out: string;
  /** Whether a file that is there already is replaced. */
  overwrite?: boolean | undefined;
  adapter?: AdapterChoice | undefined;
}

export interface DetailReport {
  width: number;
  height: number;
  /** Sides of what was painted. */
  low: [width: number, height: number];
  adapter: AdapterReport;
  output: string;
  milliseconds: number;
}

const FORMATS: Readonly<Record<string, OutputFormat>> = { ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp" };

/**
 * Gives what was painted small the content's own size and detail.
 * @throws StylizingError `ARGUMENT` where sizes do not belong together or a file would be lost, `IMAGE`, `OUTPUT`, `NO_ADAPTER`, `GPU`.
 */
export async function restoreFile(options: RestoreFileOptions): Promise<DetailReport> {
  const { content, painted, low, radius, epsilon, background, out, overwrite = false, adapter } = options;
  const format = FORMATS[extname(out).toLowerCase()];
  if (!format)
    throw new StylizingError("ARGUMENT", `${out} does not say what it is to be.`, "End its name in .png, .jpg or .webp.");
  const there = await checkOutputs(low === undefined ? [content, painted] : [content, painted, low], [out]);
  if (!overwrite) refuseExisting(there, "Replace it with --overwrite, or give another name.");
  await ensureOutputFile(out);
  const start = performance.now();
  const [full, restyled, given] = await Promise.all(
    [content, painted, low].map((file) => (file === undefined ? undefined : decodeImage(file, { channels: 3 }))),
  );
  const { width, height } = restyled!;
  const seen = given ?? (await resize(full!, width, height));
  if (seen.width !== width || seen.height !== height) {
    throw new StylizingError(
      "ARGUMENT",
      `${low} is ${seen.width} × ${seen.height} and ${painted} ${width} × ${height}.`,
      "Give the content as it was painted from, of the same size, or leave --low away.",
    );
  }
  const gpu = await openDevice({ ...(adapter ? { adapter } : {}), precision: "f32" });
  try {
    using restorer = new Restorer(gpu, 3, { radius, epsilon, background: background === "keep" ? GLASS : undefined });
    const [place, source] = [wholeOf(seen), wholeOf(full!)];
    const result = await restorer.restore(
      full!,
      { width: full!.width, height: full!.height, source, low: place },
      { content: seen.data, painted: Float32Array.from(restyled!.data, (level) => level / 255), place },
    );
    await saveImage(out, result, { format });
    return {
      ...{ width: full!.width, height: full!.height, low: [width, height], adapter: adapterReport(gpu), output: out },
      milliseconds: Math.round(performance.now() - start),
    };
  } finally {
    gpu.dispose();
  }
}
