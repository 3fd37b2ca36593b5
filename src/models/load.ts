import { StylizingError } from "../errors.js";

/** How far the loading of a model is. */
export interface LoadProgress {
  phase: "download" | "verify" | "upload" | "compile" | "ready";
  /** Bytes while downloading, layers while uploading. */
  loaded: number;
  total: number;
  /** While downloading. */
  file?: string;
}

/** @throws StylizingError `ARGUMENT` */
export function checkBatchSize(size: number): void {
  if (!(Number.isSafeInteger(size) && size > 0))
    throw new StylizingError("ARGUMENT", `batchSize is ${size}.`, "Give a positive integer.");
}
