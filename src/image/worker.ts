/**
 * What runs in the threads of {@link ImagePool}: pictures only. No GPU is ever opened here, since Dawn dies in worker threads.
 */
import { move, transferableSymbol, valueSymbol } from "piscina";
import sharp from "sharp";
import { messageOf, StylizingError } from "../errors.js";
import { type ImageTask, type LoadedImage, load, save } from "./tasks.js";

// One picture a thread: more threads inside of one would only compete. What was decoded once is not asked for again.
sharp.concurrency(1);
sharp.cache(false);

/** What comes back from a worker; an error loses its class and its fields on the way, so it is taken apart. */
export type Answer =
  | { image: LoadedImage }
  | { milliseconds: number }
  | { error: { code: StylizingError["code"] | undefined; message: string; fix: string } };

/** Hands the pixels over instead of copying them. */
function handOver(image: LoadedImage): unknown {
  const { originalWidth, originalHeight, width, height } = image;
  // A picture that was not scaled still lies in sharp's own memory, which cannot be handed over.
  const data = originalWidth === width && originalHeight === height ? new Uint8Array(image.data) : image.data;
  return move({
    get [transferableSymbol]() {
      return [data.buffer as ArrayBuffer];
    },
    get [valueSymbol]() {
      return { image: { ...image, data } };
    },
  });
}

export default async function work(task: ImageTask): Promise<unknown> {
  try {
    if (task.kind === "load") return handOver(await load(task));
    return { milliseconds: await save(task) };
  } catch (error) {
    if (!(error instanceof StylizingError)) return { error: { code: undefined, message: messageOf(error), fix: "" } };
    return { error: { code: error.code, message: error.message, fix: error.fix } };
  }
}
