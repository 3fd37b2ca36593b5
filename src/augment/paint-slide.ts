import { StylizingError } from "../errors.js";
import { resizeRows } from "../image/resize.js";
import type { Slide } from "../image/slide.js";
import { checkRoom, type SlideCompression, SlideWriter } from "../image/slide-writer.js";
import type { RowSource } from "../image/types.js";
import { lowSize } from "../painter/sized.js";
import type { StyleBank } from "../painter/style-bank.js";
import type { StylizingViT } from "../painter/stylizing-vit.js";
import type { InputFile, PaintJob } from "./inputs.js";
import type { PaintFilesOptions } from "./report.js";

/** What is decided for all slides of a run. */
export type SlideOptions = Pick<PaintFilesOptions, "page" | "white" | "scale" | "background" | "skipBlank" | "compression">;

/** Of a slide's windows: all of them, and those that were left as they are. */
export interface WindowCounts {
  windows: number;
  blank: number;
}

const DEFAULT_COMPRESSION: SlideCompression = "jpeg";

/** Which page of a slide is painted. */
const pageOf = ({ page }: InputFile, options: Pick<SlideOptions, "page">): number =>
  page ?? (typeof options.page === "number" ? options.page : 1);

/**
 * Looks at the slides of a run before anything is begun: what cannot be read is noted with the file.
 * @throws StylizingError `ARGUMENT` for sizes that a slide cannot be painted at.
 */
export function checkSlides(contents: readonly InputFile[], options: PaintFilesOptions): void {
  const slides = contents.filter(({ slide }) => slide);
  if (slides.length === 0) return;
  const { size = "keep", detail = "guided", compression = DEFAULT_COMPRESSION, onNote } = options;
  if (size !== "keep" || detail !== "guided")
    throw new StylizingError(
      "ARGUMENT",
      `${slides[0]!.path} is a whole slide, and size is ${size} and detail ${detail}.`,
      "Leave --size and --detail away: a slide keeps its size, and gets its own detail.",
    );
  for (const file of slides) {
    try {
      file.slide!.page(pageOf(file, options));
    } catch (error) {
      file.error ??= error;
    }
    if (file.slide!.pages > 1 && options.page === undefined)
      onNote?.(`${file.path} has ${file.slide!.pages} pages: the first is taken; --page N or all takes others`);
  }
  onNote?.(`results of whole slides are pyramidal TIFF files (.tif, ${compression}), whatever --format says`);
  if (options.sheet) onNote?.("whole slides are not shown on the sheet");
}

/** @throws StylizingError `OUTPUT` where the disk is too small for one of the slides that are to be painted. */
export async function checkRoomFor(
  jobs: readonly PaintJob[],
  contents: readonly InputFile[],
  channels: 1 | 3,
  options: PaintFilesOptions,
): Promise<void> {
  const { compression = DEFAULT_COMPRESSION, out } = options;
  for (const job of jobs) {
    const file = contents[job.content]!;
    if (!file.slide || file.error !== undefined) continue;
    const { width, height } = file.slide.page(pageOf(file, options));
    await checkRoom(out, { width, height, channels, compression });
  }
}

/**
 * Paints a slide by rows, from its file into another.
 * @param bank its first style is taken.
 * @param onProgress is told how far it is, in rows of the slide.
 * @throws StylizingError `IMAGE`, `OUTPUT`, `GPU`, `DEVICE_LOST`; the signal's reason when aborted. There is no result then.
 */
export async function paintSlide(
  model: StylizingViT,
  bank: StyleBank,
  file: InputFile,
  output: string,
  options: SlideOptions,
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<WindowCounts> {
  const slide: Slide = file.slide!;
  const page = pageOf(file, options);
  const { compression = DEFAULT_COMPRESSION, scale = "fit", background, skipBlank, white } = options;
  const { in_channels, image_size } = model.config;
  const channels = in_channels as 1 | 3;
  const { width, height, resolution } = slide.page(page);
  const [lowWidth, lowHeight] = lowSize({ width, height }, scale, image_size);
  const isWhole = lowWidth === width && lowHeight === height;
  // Rows that were scaled, that windows were painted of, and that were written: what takes long is one or the other.
  const rows = { scaled: isWhole ? height : 0, painted: 0, written: 0 };
  const tell = () => onProgress(Math.floor((rows.scaled + rows.painted + rows.written) / 3), height);

  const read = () => slide.read({ page, channels, white }, signal);
  const full = await read();
  const scaled = async (): Promise<RowSource> => {
    const source = await read();
    const counted: RowSource = {
      ...{ width, height },
      rows: (top, count) => {
        rows.scaled = top + count;
        tell();
        return source.rows(top, count);
      },
    };
    return resizeRows(counted, channels, lowWidth, lowHeight, { signal });
  };
  const low = isWhole ? full : await scaled();
  await using writer = await SlideWriter.create(output, { width, height, channels, compression, resolution });
  const counts: WindowCounts = { windows: 0, blank: 0 };
  const bands = model.paintRows({ full, low }, bank, 0, {
    ...{ size: "keep", detail: "guided", scale, background, skipBlank, signal },
    onWindow: (done, windows, blank) => {
      Object.assign(counts, { windows, blank });
      rows.painted = (done / windows) * height;
      tell();
    },
  });
  for await (const { top, rows: count, data } of bands) {
    await writer.write(data);
    rows.written = top + count;
    tell();
  }
  await writer.finish(signal);
  return counts;
}
