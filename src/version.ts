import { createRequire } from "node:module";
import { bindingVersion } from "./gpu/dawn.js";

/** This package's own version, as its `package.json` says. */
export const VERSION: string = (createRequire(import.meta.url)("../package.json") as { version: string }).version;

/** Versions of what a result depends on, for reports. */
export function versions(): { "stylizing-vit": string; webgpu: string; node: string } {
  return { "stylizing-vit": VERSION, webgpu: bindingVersion(), node: process.versions.node };
}
