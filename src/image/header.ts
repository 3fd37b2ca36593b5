import { stat } from "node:fs/promises";
import { loadSharp } from "./sharp.js";

/** Pixels of an image file, told from its first bytes; 0 where they say nothing, and reading it will say why. */
export async function pixelsIn(file: string): Promise<number> {
  // Before it is opened: a pipe waits for its writer.
  const about = await stat(file).catch(() => undefined);
  if (!about?.isFile()) return 0;
  const sharp = await loadSharp();
  const header = await sharp(file, { limitInputPixels: false })
    .metadata()
    .catch(() => undefined);
  return header ? header.width * header.height : 0;
}
