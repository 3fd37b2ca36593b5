import type { DownloadOptions } from "../hub/download.js";
import type { WeightSource } from "../hub/weight-source.js";

export async function openVgg(
  _source: string,
  _channels: number,
  _options: Pick<DownloadOptions, "signal" | "onProgress"> = {},
): Promise<WeightSource> {
  throw new Error("not built");
}
