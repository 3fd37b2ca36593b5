import { realpath } from "node:fs/promises";
import { StylizingError } from "../errors.js";
import type { Placement } from "../image/types.js";
import type { DataFile } from "../models/task.js";
import { permutation } from "../random.js";
import { AT_ONCE, asUnreadable, type DatasetOptions } from "./dataset.js";

/** Images that a run is judged by: all of them in memory, whole, in an order of their own that is always the same. */
export interface ValidationSet {
  files: DataFile[];
  /** [files, size, size, channels]. */
  images: Uint8Array;
  /** [files], where images have labels. */
  labels: Uint32Array | undefined;
  /** Where each image lies in its square. */
  placements: Placement[];
}

/** Validation images that are training images too, by where their paths lead: a copy of one is another image. */
export async function alsoTrainedOn(training: readonly DataFile[], validation: readonly DataFile[]): Promise<DataFile[]> {
  const real = ({ path }: DataFile) => realpath(path).catch(() => path);
  const trained = new Set(await Promise.all(training.map(real)));
  const judged = await Promise.all(validation.map(real));
  return validation.filter((_, index) => trained.has(judged[index]!));
}

/**
 * Reads at most `limit` images, spread evenly over the list; what cannot be read is left out.
 * @throws StylizingError `ARGUMENT` where fewer than `fewest` can be read; the signal's reason.
 */
export async function loadValidation(
  files: readonly DataFile[],
  { limit, fewest }: { limit: number; fewest: number },
  { size, channels, pool, onUnreadable }: Pick<DatasetOptions, "size" | "channels" | "pool" | "onUnreadable">,
  signal?: AbortSignal,
): Promise<ValidationSet> {
  const count = Math.min(limit, files.length);
  // Shuffled: neighbours in a list are often of one kind, and each image's style is that of its neighbour.
  const chosen = Array.from(permutation(count, 0), (i) => files[Math.floor((i * files.length) / count)]!);
  const each = size * size * channels;
  const images = new Uint8Array(count * each);
  const set: ValidationSet = { files: [], images, labels: undefined, placements: [] };
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
  if (set.files.length < fewest) {
    const problem = `Of ${files.length} validation images ${set.files.length} can be read, and this task needs ${fewest} at least.`;
    throw new StylizingError("ARGUMENT", problem, "Give --val a folder with more.");
  }
  set.images = images.subarray(0, set.files.length * each);
  if (set.files.some(({ label }) => label !== undefined)) set.labels = Uint32Array.from(set.files, ({ label }) => label!);
  return set;
}
