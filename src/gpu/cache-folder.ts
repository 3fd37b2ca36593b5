import { homedir } from "node:os";
import { join } from "node:path";

/** Where this program keeps what it can make again: an unpacked driver, verdicts about adapters. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "stylizing-vit");
}
