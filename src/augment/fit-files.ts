import { StylizingError } from "../errors.js";
import type { AdapterChoice } from "../gpu/gpu.js";
import { ensureOutputFile, writeFileAtomic } from "../image/atomic-write.js";
import { type DecodeOptions, decodeImage } from "../image/decode.js";
import { tellingLeftOut } from "../image/folder.js";
import type { PixelImage } from "../image/types.js";
import { ClosedForms } from "../restyle/closed-forms.js";
import type { RandStainTable } from "../restyle/methods.js";
import { Failures } from "./failures.js";
import { listInputs } from "./inputs.js";
import { checkOutputs, refuseExisting } from "./outputs.js";

export interface FitFilesOptions extends Pick<DecodeOptions, "white"> {
  /** Files, and folders that are read at any depth. */
  images: readonly string[];
  /** Where the table goes, as JSON. */
  out: string;
  /** Whether a file that is there already is replaced. */
  overwrite?: boolean | undefined;
  adapter?: AdapterChoice | undefined;
  /** Receives notices, and of what fails one line a reason, at once. */
  onNote?: ((note: string) => void) | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface FitReport {
  table: RandStainTable;
  /** Images that were measured, and that could not be read. */
  measured: number;
  failed: number;
  adapter: { adapter: string; readonly [more: string]: unknown };
  output: string;
  milliseconds: number;
}

/** Images that are read at a time. */
const AHEAD = 8;

/**
 * Measures RandStainNA's table on image files. What cannot be read is reported and left out.
 * @throws StylizingError `ARGUMENT` where no image can be read or a file would be lost; `OUTPUT`, `NO_ADAPTER`, `GPU`; the signal's reason when
 *   aborted. Nothing is written then.
 */
export async function fitFiles(options: FitFilesOptions, signal?: AbortSignal): Promise<FitReport> {
  const { images, out, overwrite = false, adapter, white, onNote, onProgress } = options;
  const files = await tellingLeftOut(onNote, (leftOut) => listInputs(images, { leftOut }));
  const there = await checkOutputs(
    files.map(({ path }) => path),
    [out],
  );
  if (!overwrite) refuseExisting(there, "Replace it with --overwrite, or give another name.");
  await ensureOutputFile(out);
  const start = performance.now();
  const failures = new Failures(onNote);
  let [measured, failed] = [0, 0];
  async function* read(): AsyncGenerator<PixelImage> {
    const loading = [];
    for (let at = 0; at < files.length + AHEAD; at++) {
      signal?.throwIfAborted();
      const file = files[at];
      if (file) {
        const image = decodeImage(file.path, { channels: 3, ...(white === undefined ? {} : { white }) });
        loading.push({ file, image: image.catch((error: unknown) => ({ error })) });
      }
      if (at < AHEAD) continue;
      const next = loading.shift();
      if (!next) return;
      const image = await next.image;
      if ("error" in image) {
        failures.add(next.file.path, image.error);
        failed++;
      } else {
        measured++;
        yield image;
      }
      onProgress?.(measured + failed, files.length);
    }
  }
  await using forms = await ClosedForms.open(adapter ? { adapter, onNote } : { onNote });
  const table = await forms.fitRandStainNA(read(), signal).catch((error: unknown) => {
    if (measured > 0 || failed === 0) throw error;
    throw new StylizingError("ARGUMENT", `None of ${failed} images can be read.`, "Give images of tissue.", { cause: error });
  });
  await writeFileAtomic(out, `${JSON.stringify(table, null, 2)}\n`);
  return { table, measured, failed, adapter: forms.report, output: out, milliseconds: Math.round(performance.now() - start) };
}
