import { loadSharp } from "./sharp.js";

/** Pixels of an image file, told from its first bytes; 0 where they say nothing, and reading it will say why. */
export async function pixelsIn(file: string): Promise<number> {
  const sharp = await loadSharp();
  const header = await sharp(file, { limitInputPixels: false })
    .metadata()
    .catch(() => undefined);
  return header ? header.width * header.height : 0;
}
