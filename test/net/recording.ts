import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { WeightSource } from "../../src/hub/weight-source.js";
import { type Capture, fingerprint } from "./capture.js";

/**
 * Every dispatch that the library hands to a device, held against a recording: label, grid, buffers in order of first use,
 * parameter words, and which rows attend to which. Whatever is rebuilt above the kernels must hand over the same.
 * `STYLIZING_VIT_RECORD=1 npx vitest run test/net/FILE` writes the recording of a test file anew; the commit that does says why.
 * `STYLIZING_VIT_DUMP=FOLDER` writes every program as text, so that those of two commits can be told apart line by line.
 */
const DUMP = process.env.STYLIZING_VIT_DUMP;
const RECORD = process.env.STYLIZING_VIT_RECORD === "1";

export class Recording {
  readonly #file: URL;
  readonly #former: (line: string) => string;
  readonly #recorded: Record<string, string>;
  readonly #now: Record<string, string> = {};

  /** @param former what a line was when the recording was made */
  constructor(name: string, former: (line: string) => string = (line) => line) {
    this.#file = new URL(`../fixtures/${name}.json`, import.meta.url);
    this.#former = former;
    this.#recorded = existsSync(this.#file) ? JSON.parse(readFileSync(this.#file, "utf8")) : {};
  }

  /** Holds what was captured against the recording. */
  check(name: string, seen: Capture): void {
    const lines = seen.take().map(this.#former);
    expect(lines.length, name).toBeGreaterThan(0);
    const found = fingerprint(lines);
    this.#now[name] = found;
    if (DUMP) {
      mkdirSync(DUMP, { recursive: true });
      writeFileSync(join(DUMP, `${name}.txt`), `${lines.join("\n")}\n`);
    }
    if (RECORD || found === this.#recorded[name]) return;
    const [, , before = ""] = (this.#recorded[name] ?? "").split(" ");
    const [, , after = ""] = found.split(" ");
    let at = 0;
    while (at < lines.length && before.slice(3 * at, 3 * at + 3) === after.slice(3 * at, 3 * at + 3)) at++;
    const what = `${name}: ${before.length / 3} dispatches were recorded, ${lines.length} are there; the first that differs is ${at}`;
    expect.fail(`${what}:\n${lines.slice(Math.max(0, at - 2), at + 2).join("\n")}`);
  }

  /** Every recorded program was met; or writes the recording where that is asked for. */
  end(): void {
    if (RECORD) writeFileSync(this.#file, `${JSON.stringify(this.#now, null, 2)}\n`);
    else expect(Object.keys(this.#now).sort()).toEqual(Object.keys(this.#recorded).sort());
  }
}

/** Profiles that programs are recorded for: tier, and whether the adapter is a CPU. */
export const PROFILES = [
  ["software f32", "f32", true],
  ["GPU f32", "f32", false],
  ["f16", "f16", false],
  ["matrix", "matrix", false],
  ["software matrix", "matrix", true],
] as const;

/** Cut as long GEMMs are on a GPU: so small that even these models' are. */
export const FEW_FLOPS = 2e6;

/** Weights that are all zero: hashed numbers take seconds, and nobody looks at them. */
export const zeros = (shapes: ReadonlyMap<string, readonly number[]>): WeightSource => ({
  label: "zeros",
  shapes,
  read: async (key) => new Float32Array(shapes.get(key)!.reduce((a, b) => a * b, 1)),
  [Symbol.asyncDispose]: async () => {},
});
