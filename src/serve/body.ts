import { messageOf, StylizingError } from "../errors.js";
import { parseHeader } from "../hub/safetensors.js";
import { safetensorsHead } from "../hub/safetensors-writer.js";
import type { PixelImage } from "../image/types.js";

export const RAW = "application/octet-stream";
export const SAFETENSORS = "application/safetensors";

/** Images of one size in one array, as bodies have them: uint8, rows from the top, channels interleaved. */
export interface Pixels {
  /** [n, h, w, c] of a batch, [h, w, c] of one image. */
  shape: readonly number[];
  data: Uint8Array;
}

/** What a body holds: tensors by name, and texts. */
export interface Body {
  tensors: ReadonlyMap<string, Pixels>;
  metadata: ReadonlyMap<string, string>;
}

const refuse = (problem: string, fix: string): never => {
  throw new StylizingError("ARGUMENT", problem, fix);
};
const SAVE = 'Write it with safetensors.numpy.save({"images": images}, {"keys": json.dumps(keys)}).';

/** `2,224,224,3`. @throws StylizingError `ARGUMENT` */
export function parseShape(text: string | undefined): number[] {
  const shape = (text ?? "").split(",").map((part) => (/^\d{1,9}$/.test(part.trim()) ? Number(part) : 0));
  if (text === undefined || shape.some((size) => size === 0))
    refuse(text === undefined ? "A raw body has no shape." : `"${text.slice(0, 100)}" is no shape.`, "Give ?shape=n,h,w,c.");
  return shape;
}

/** A raw body as the tensor of a name. @throws StylizingError `ARGUMENT` where its bytes are not those of its shape */
export function rawBody(name: string, shape: readonly number[], data: Uint8Array): Body {
  const bytes = shape.reduce((product, size) => product * size, 1);
  if (bytes !== data.length)
    refuse(
      `The shape ${shape.join(",")} is of ${bytes} bytes, and the body has ${data.length}.`,
      "Send uint8, and the shape of the array as it is.",
    );
  return { tensors: new Map([[name, { shape, data }]]), metadata: new Map() };
}

/** The format that https://github.com/huggingface/safetensors describes, in memory, of U8 tensors. @throws StylizingError `ARGUMENT` */
export function safetensorsBody(bytes: Uint8Array): Body {
  const length = bytes.length < 8 ? Number.NaN : Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (!(length <= bytes.length - 8)) refuse("The body is not whole safetensors.", SAVE);
  let header: ReturnType<typeof parseHeader>;
  try {
    header = parseHeader("The body", bytes.subarray(8, 8 + length), bytes.length - 8 - length);
  } catch (error) {
    if (!(error instanceof StylizingError)) throw error;
    throw new StylizingError("ARGUMENT", messageOf(error).slice(0, -error.fix.length).trimEnd(), SAVE, { cause: error });
  }
  const data = bytes.subarray(8 + length);
  const tensors = new Map<string, Pixels>();
  for (const [name, { dtype, shape, begin, end }] of header.tensors) {
    if (dtype !== "U8")
      refuse(`The tensor ${name.slice(0, 100)} is ${dtype}.`, "Send uint8, from 0 to 255: (255 * x).round().astype(np.uint8).");
    tensors.set(name, { shape, data: data.subarray(begin, end) });
  }
  return { tensors, metadata: header.metadata };
}

/** Safetensors of one tensor, in pieces. */
export function safetensorsOf(
  name: string,
  shape: readonly number[],
  pieces: readonly Uint8Array[],
  metadata: Record<string, string>,
): Buffer {
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  const head = safetensorsHead({ __metadata__: metadata, [name]: { dtype: "U8", shape, data_offsets: [0, bytes] } });
  return Buffer.concat([head, ...pieces]);
}

/**
 * A tensor's images, [n, h, w, c] or, of one image, [h, w, c]; they share its memory.
 * @throws StylizingError `ARGUMENT` for another shape
 */
export function imagesOf(name: string, { shape, data }: Pixels, rank: 3 | 4): PixelImage[] {
  const [height = 0, width = 0, channels = 0] = shape.slice(rank - 3);
  const count = rank === 4 ? (shape[0] ?? 0) : 1;
  if (shape.length !== rank || Math.min(count, height, width) < 1 || (channels !== 1 && channels !== 3))
    refuse(
      `${name} has the shape ${shape.slice(0, 8).join(",")}.`,
      `Send ${rank === 4 ? "n,h,w,c" : "h,w,c"}, with 1 or 3 channels, channels last.`,
    );
  const bytes = height * width * channels;
  return Array.from({ length: count }, (_, index) => ({
    ...{ width, height, channels: channels as 1 | 3 },
    data: data.subarray(index * bytes, (index + 1) * bytes),
  }));
}
