import { resolveModelName } from "../../src/hub/catalogue.js";
import { type DownloadedCheckpoint, type DownloadOptions, downloadRepository } from "../../src/hub/download.js";

/** A published checkpoint by the name that users type. */
export async function downloadCheckpoint(name: string, options: DownloadOptions = {}): Promise<DownloadedCheckpoint> {
  const { entry, revision } = resolveModelName(name);
  return downloadRepository(entry.repo, { ...options, revision: options.revision ?? revision }, entry.name);
}
