import { readFile } from "node:fs/promises";
import path from "node:path";
import { messageOf, StylizingError } from "../errors.js";
import { decodeImage } from "../image/decode.js";
import { encodeImage } from "../image/encode.js";
import type { PixelImage } from "../image/types.js";
import type { DataSet, LostSample, Output, Sample, SampleKey } from "./types.js";

/** A file that belongs to a sample beside its image: a mask, JSON. */
export interface Part {
  /** What tells it from others of its sample, with its ending: `mask.png`, `json`. */
  readonly name: string;
  /** What the name of its file has behind the image's own stem, where that is known: `_mask.png`. */
  readonly behind?: string | undefined;
  /** The column that names its file. */
  readonly column?: string | undefined;
  readonly bytes: Uint8Array;
}

/** What a sample has beside image and label; which of these depends on the format it is from. */
export interface Rest {
  readonly parts?: readonly Part[];
  /** Columns and fields by name, as they were read, in order. */
  readonly fields?: ReadonlyMap<string, unknown>;
  /** The line of JSON that the fields are from. */
  readonly line?: string | undefined;
  /** Its row of every array of an npz, by the array's name. */
  readonly rows?: ReadonlyMap<string, Uint8Array>;
  /** What the member of a tar that is the image has before its ending: `image.` */
  readonly member?: string;
  /** The name of a class whose label is a number. */
  readonly className?: string | undefined;
}

export const restOf = (sample: Sample): Rest => (sample.rest ?? {}) as Rest;

/** A data set of this room: what writers of other formats ask of it beside its samples. */
export interface Catalogue extends DataSet {
  /** Columns or fields of its samples, labels and paths not among them. */
  readonly fields: readonly string[];
  /** Names of further images without endings: `mask`. */
  readonly parts: readonly string[];
  /** Names of other parts: `json`. */
  readonly others?: readonly string[];
  /** Of a table: all its columns in order, those of the image's path and of the label among them, and whether it is of JSON. */
  readonly table?: {
    readonly columns: readonly string[];
    readonly path: string | undefined;
    readonly label: string | undefined;
    readonly isJson: boolean;
  };
}

export const isLost = <T extends SampleKey>(sample: T | LostSample): sample is LostSample => "error" in sample;

/** Image files that a data set may hold, by their endings. */
export const IMAGE_ENDINGS = new Set(["png", "jpg", "jpeg", "webp", "tif", "tiff", "gif", "avif"]);

/** A file's ending in small letters, without the dot. */
export const endingOf = (name: string): string => path.posix.extname(name).slice(1).toLowerCase();

/** A name without its ending. */
export const stemOf = (name: string): string => name.slice(0, name.length - path.posix.extname(name).length);

/** What kind of image bytes are, for those that come without a name; `png` where they do not say. */
export function endingOfBytes(bytes: Uint8Array): string {
  const starts = (text: string, at = 0) => Buffer.from(bytes.subarray(at, at + text.length)).toString("latin1") === text;
  if (starts("\xff\xd8\xff")) return "jpg";
  if (starts("RIFF") && starts("WEBP", 8)) return "webp";
  if (starts("II*\0") || starts("MM\0*") || starts("II+\0") || starts("MM\0+")) return "tif";
  if (starts("GIF8")) return "gif";
  return starts("ftypavif", 4) ? "avif" : "png";
}

/** A file of a sample. @param who names it and says where it is from. @throws StylizingError `IMAGE` */
export async function readPart(file: string, who: string, fix: string): Promise<Uint8Array> {
  return await readFile(file).catch((error: NodeJS.ErrnoException) => {
    const problem = error.code === "ENOENT" ? `there is no file ${file}.` : `${file} could not be read: ${messageOf(error)}.`;
    throw new StylizingError("IMAGE", `${who}: ${problem}`, fix, { cause: error });
  });
}

/** The image that an output is, as its file and the ending of that. @throws StylizingError */
export async function fileOf({ sample, image = sample.image }: Output): Promise<{ bytes: Uint8Array; ending: string }> {
  return "bytes" in image ? image : { bytes: await encodeImage(image, { format: "png" }), ending: "png" };
}

/** The image that an output is, as pixels. @throws StylizingError `IMAGE` */
export async function pixelsOf({ sample, image = sample.image }: Output, channels: 1 | 3): Promise<PixelImage> {
  if (!("bytes" in image) && image.channels === channels) return image;
  const bytes = "bytes" in image ? image.bytes : await encodeImage(image, { format: "png" });
  return await decodeImage(bytes, { channels, name: sample.source });
}
