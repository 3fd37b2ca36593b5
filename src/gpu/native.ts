import { createRequire } from "node:module";
import { constants } from "node:os";

/**
 * Opening libraries and setting variables so that native code sees it. Node does both by itself. Under Bun `process.env` is not the
 * process's environment, and neither Bun nor Deno keeps a library open that is no add-on: there the C library is asked.
 */

/** Of `dlopen`, and not among Node's constants: the library stays loaded for good. */
const RTLD_NODELETE = 0x1000;
const LIBC = "libc.so.6";

/** Those functions of the C library, which take text as bytes with a zero behind. */
interface Libc {
  setenv(name: Uint8Array, value: Uint8Array, overwrite: number): number;
  /** Nothing, or 0, where it fails. */
  dlopen(file: Uint8Array, flags: number): unknown;
}

/** What is used of `bun:ffi` and of `Deno`; neither has types here. */
interface BunFfi {
  dlopen(file: string, symbols: Record<keyof Libc, { args: string[]; returns: string }>): { symbols: Libc };
}
interface DenoFfi {
  dlopen(file: string, symbols: Record<keyof Libc, { parameters: string[]; result: string }>): { symbols: Libc };
}

let libc: Libc | undefined;

/** The C library under Bun and Deno; undefined under Node. @throws Error where it cannot be called, as without `--allow-ffi` */
function foreign(): Libc | undefined {
  const { Deno } = globalThis as { Deno?: DenoFfi };
  if (process.versions.bun) {
    const { dlopen } = createRequire(import.meta.url)("bun:ffi") as BunFfi;
    const [text, number] = ["ptr", "i32"];
    libc ??= dlopen(LIBC, {
      setenv: { args: [text, text, number], returns: number },
      dlopen: { args: [text, number], returns: "ptr" },
    }).symbols;
  } else if (Deno) {
    const [text, number] = ["buffer", "i32"];
    libc ??= Deno.dlopen(LIBC, {
      setenv: { parameters: [text, text, number], result: number },
      dlopen: { parameters: [text, number], result: "pointer" },
    }).symbols;
  }
  return libc;
}

const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

/** Sets a variable of this process's environment, for native code as well. */
export function setVariable(name: string, value: string): void {
  process.env[name] = value;
  foreign()?.setenv(text(name), text(value), 1);
}

/**
 * Opens a library that is no add-on of Node's.
 * @param keep it stays loaded, so that whoever opens one of its name finds it.
 * @throws Error where it cannot be loaded
 */
export function openLibrary(file: string, keep: boolean): void {
  const flags = constants.dlopen.RTLD_NOW | (keep ? RTLD_NODELETE : 0);
  const other = foreign();
  if (other) {
    if (!other.dlopen(text(file), flags)) throw new Error(`${file} cannot be opened`);
    return;
  }
  try {
    process.dlopen({ exports: {} }, file, flags);
  } catch (error) {
    // It is not a Node add-on and Node says so, after it has loaded it: that is all we want.
    if (!String(error).includes("did not self-register")) throw error;
  }
}
