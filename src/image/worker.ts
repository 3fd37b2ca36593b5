/**
 * What runs in the threads of {@link ImagePool}: images only. No GPU is ever opened here, since Dawn dies in worker threads.
 */
import { move, transferableSymbol, valueSymbol } from "piscina";
import sharp from "sharp";
import { messageOf, StylizingError } from "../errors.js";
import { type ImageResult, type ImageTask, type LoadedImage, perform } from "./tasks.js";

// One image a thread: more threads inside of one would only compete. What was decoded once is not asked for again.
sharp.concurrency(1);
sharp.cache(false);

/** What comes back from a worker; an error loses its class and its fields on the way, so it is taken apart. */
export type Answer =
  | { result: ImageResult }
  | { error: { code: StylizingError["code"] | undefined; message: string; fix: string; cause?: { code: unknown } } };

/** A result whose bytes can be handed over. */
function withOwnBytes(result: ImageResult): ImageResult {
  if (typeof result === "number") return result;
  if (result instanceof Uint8Array) return new Uint8Array(result);
  return "placement" in result ? withOwnPixels(result) : { ...result, data: new Uint8Array(result.data) };
}

function withOwnPixels(image: LoadedImage): LoadedImage {
  const { original, source, placement } = image;
  // What was not scaled still lies in sharp's own memory, which cannot be.
  const scaled = source.width !== placement.width || source.height !== placement.height;
  return {
    ...image,
    data: scaled ? image.data : new Uint8Array(image.data),
    ...(original ? { original: { ...original, data: new Uint8Array(original.data) } } : {}),
  };
}

async function answer(task: ImageTask): Promise<Answer> {
  try {
    return { result: withOwnBytes(await perform(task)) };
  } catch (error) {
    if (!(error instanceof StylizingError)) return { error: { code: undefined, message: messageOf(error), fix: "" } };
    const cause = { code: (error.cause as NodeJS.ErrnoException | undefined)?.code };
    return { error: { code: error.code, message: error.message, fix: error.fix, cause } };
  }
}

function buffersOf(result: ImageResult): ArrayBuffer[] {
  if (typeof result === "number") return [];
  if (result instanceof Uint8Array) return [result.buffer as ArrayBuffer];
  const original = "original" in result ? result.original : undefined;
  return [result, ...(original ? [original] : [])].map(({ data }) => data.buffer as ArrayBuffer);
}

export default async function work(tasks: readonly ImageTask[]): Promise<unknown> {
  const answers: Answer[] = [];
  for (const task of tasks) answers.push(await answer(task));
  // Pixels change hands instead of being copied.
  return move({
    get [transferableSymbol]() {
      return answers.flatMap((one) => ("result" in one ? buffersOf(one.result) : []));
    },
    get [valueSymbol]() {
      return answers;
    },
  });
}
