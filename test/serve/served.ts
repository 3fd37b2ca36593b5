import type { ChildProcess } from "node:child_process";
import { afterAll, expect } from "vitest";
import { type Finished, start } from "../command/command.js";
import { figures } from "./service.js";

export interface Served {
  url: string;
  child: ChildProcess;
  finished: Promise<Finished>;
}

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

/** The command, listening. */
export async function serve(...args: string[]): Promise<Served> {
  const where = args.includes("--socket") ? [] : ["--listen", "127.0.0.1:0"];
  // What the garbage collector lets lie for speed would hide what leaks.
  const env = { NODE_OPTIONS: "--max-semi-space-size=1 --max-old-space-size=64" };
  const { child, finished } = start(["serve", ...where, ...args, "--json"], { longest: 600_000, env });
  children.push(child);
  const url = await Promise.race([
    new Promise<string>((resolve) => {
      let text = "";
      child.stdout!.on("data", (piece: string) => {
        text += piece;
        if (text.endsWith("\n")) resolve((JSON.parse(text) as { url: string }).url);
      });
    }),
    finished.then(({ stderr }) => Promise.reject(new Error(stderr))),
  ]);
  return { url, child, finished };
}

/** Ends it as an init system would, and checks that it ended well and waited for nothing but its work. */
export async function end({ child, finished }: Served): Promise<Finished> {
  const start = performance.now();
  child.kill("SIGTERM");
  const ended = await finished;
  expect(performance.now() - start).toBeLessThan(10_000);
  expect(ended.code, ended.stderr).toBe(0);
  return ended;
}

/** Megabytes that it holds, and the mean fill of its batches. */
export async function loadOf(url: string): Promise<{ megabytes: number; fill: number; images: number }> {
  const found = await figures(url);
  return {
    megabytes: found.get("process_resident_memory_bytes")! / 2 ** 20,
    fill: found.get("stylizing_vit_batch_fill_sum")! / found.get("stylizing_vit_batch_fill_count")!,
    images: found.get("stylizing_vit_images_total")!,
  };
}
