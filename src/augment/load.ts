import type { ImagePool } from "../image/pool.js";
import type { Fit, FittedImage } from "../image/preprocess.js";
import type { InputFile } from "./inputs.js";

export type Loaded = { image: FittedImage } | { error: unknown };

/** Loads images, as many at a time as the pool takes; those whose turn has not come when the signal is raised have its reason. */
export function loadAll(
  pool: ImagePool,
  files: readonly InputFile[],
  size: number,
  channels: number,
  { fit, signal }: { fit?: Fit | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Loaded[]> {
  return Promise.all(
    files.map(({ path }) =>
      pool.load({ file: path, size, channels: channels as 1 | 3, fit }, signal).then(
        (image) => ({ image }),
        (error: unknown) => ({ error }),
      ),
    ),
  );
}
