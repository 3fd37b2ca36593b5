import { StylizingError } from "../errors.js";
import type { Placement } from "../image/types.js";
import { permutation } from "../random.js";
import { AT_ONCE, asUnreadable, type DatasetOptions, type ImageFile } from "./dataset.js";

/** Images that a run is judged by: all of them in memory, whole, in an order of their own that is always the same. */
export interface ValidationSet {
  files: ImageFile[];
  /** [files, size, size, channels]. */
  images: Uint8Array;
  /** Where each image lies in its square. */
  placements: Placement[];
}

/**
 * Reads at most `limit` images, spread evenly over the list; what cannot be read is left out.
 * @throws StylizingError `ARGUMENT` where fewer than two can be read; the signal's reason.
 */
export async function loadValidation(
  files: readonly ImageFile[],
  limit: number,
  { size, channels, pool, onUnreadable }: Pick<DatasetOptions, "size" | "channels" | "pool" | "onUnreadable">,
  signal?: AbortSignal,
): Promise<ValidationSet> {
  const count = Math.min(limit, files.length);
  // Shuffled: neighbours in a list are often of one kind, and each image's style is that of its neighbour.
  const chosen = Array.from(permutation(count, 0), (i) => files[Math.floor((i * files.length) / count)]!);
  const each = size * size * channels;
  const images = new Uint8Array(count * each);
  const set: ValidationSet = { files: [], images, placements: [] };
  for (let first = 0; first < count; first += AT_ONCE) {
    const some = chosen.slice(first, first + AT_ONCE);
    const loaded = await Promise.all(
      some.map(({ path }) => pool.load({ file: path, size, channels }, signal).catch(asUnreadable)),
    );
    for (const [i, image] of loaded.entries()) {
      if (image instanceof StylizingError) onUnreadable(some[i]!, image);
      else {
        images.set(image.data, (set.files.push(some[i]!) - 1) * each);
        set.placements.push(image.placement);
      }
    }
  }
  if (set.files.length < 2) {
    const problem = `Of ${files.length} validation images ${set.files.length} can be read, and each needs another one for a style.`;
    throw new StylizingError("ARGUMENT", problem, "Give --val a folder with two or more.");
  }
  set.images = images.subarray(0, set.files.length * each);
  return set;
}
