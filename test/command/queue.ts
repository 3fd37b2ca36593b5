import type { ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Queue } from "bullmq";
import { expect } from "vitest";
import type { JobData } from "../../src/augment/queue/job.js";
import { QUEUE_NAME } from "../../src/augment/queue/job.js";
import { drawTiles, writeTiles } from "../datasets/drawn.js";
import type { OwnRedis } from "../support/redis.js";
import { type Finished, fresh, listFiles, start } from "./command.js";

/** Closed forms that need no style, and those that need one. */
const METHODS = "macenko-augment:2,hed-jitter,reinhard,histogram-match";

/** A folder of drawn tiles. */
export async function tilesFolder(count: number, size: number): Promise<string> {
  const folder = fresh("tiles");
  mkdirSync(folder);
  writeTiles(folder, await drawTiles(count, size));
  return folder;
}

/** Eight samples of two copies make a group, and a group a shard. */
export const augmentArgs = (data: string, out: string, ...more: string[]) => [
  ...["augment", "--in", data, "--out", out, "--method", METHODS, "--copies", "2", "--p", ".9", "--seed", "5"],
  ...["--workers", "0", "--shard-size", "16", ...more],
];

/** Seconds after which a worker that says nothing has lost its shard. */
export const LEASE = 1;

export interface Running {
  child: ChildProcess;
  finished: Promise<Finished>;
}

export const startWorker = (redis: OwnRedis, ...more: string[]): Running => {
  const args = ["worker", "--queue", redis.url, "--lease", `${LEASE}`, "--workers", "0", ...more];
  const worker = start(args, { longest: 600_000 });
  worker.finished.catch(() => {});
  return worker;
};

/** Everything below a folder is byte for byte as below another, and nothing else is there. */
export function expectSame(out: string, whole: string): void {
  expect(listFiles(out)).toEqual(listFiles(whole));
  for (const name of listFiles(whole))
    expect(readFileSync(join(out, name)).equals(readFileSync(join(whole, name))), name).toBe(true);
}

/** Waits until a worker is at a shard. */
export async function atWork(redis: OwnRedis, { child }: Running): Promise<void> {
  const connection = redis.client();
  const queue = new Queue<JobData>(QUEUE_NAME, { connection });
  try {
    for (let waited = 0; waited < 60_000; waited += 20) {
      const active = await queue.getActive();
      if (active.some((job) => job?.data.shard && job.processedBy?.endsWith(`:${child.pid}`))) return;
      await delay(20);
    }
    throw new Error("The worker took nothing.");
  } finally {
    await queue.close();
    connection.disconnect();
  }
}

/** Waits until a folder of results holds some lines of its manifest. */
export async function untilLines(out: string, count: number): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 20) {
    try {
      if (readFileSync(join(out, "manifest.jsonl"), "utf8").split("\n").length > count + 1) return;
    } catch {}
    await delay(20);
  }
  throw new Error(`${out} has no ${count} lines.`);
}
