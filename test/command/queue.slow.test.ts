import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AugmentReport } from "../../src/augment/augment-data-set.js";
import type { ManifestLine } from "../../src/augment/manifest.js";
import type { WorkReport } from "../../src/augment/queue/worker.js";
import { hasRedis, OwnRedis } from "../support/redis.js";
import { build, type Failure, type Finished, fresh, json, MAIN, run, start, startProgram } from "./command.js";
import { atWork, augmentArgs, expectSame, LEASE, type Running, startWorker, tilesFolder, untilLines } from "./queue.js";

let data: string;

beforeAll(async () => {
  await build();
  data = await tilesFolder(80, 160);
});

const LONG = { longest: 600_000 };

async function local(args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(args, LONG);
  expect(code, stderr).toBe(0);
}

describe.skipIf(!hasRedis)("ten shards, two workers (redis-server)", () => {
  let redis: OwnRedis;
  let workers: Running[];
  const coordinators: Running[] = [];
  const coordinate = (out: string, ...more: string[]) => {
    const one = start(augmentArgs(data, out, "--queue", redis.url, ...more), LONG);
    coordinators.push(one);
    return one;
  };

  beforeAll(async () => {
    redis = await OwnRedis.start();
    workers = [startWorker(redis), startWorker(redis)];
  });
  afterAll(async () => {
    for (const { child } of [...workers, ...coordinators]) child.kill("SIGKILL");
    await redis[Symbol.asyncDispose]();
  });

  it.each(["folder", "csv", "hf", "npz", "wds", "parquet"])(
    "%s: one killed three times, one hung for two leases, Redis restarted: complete, nothing twice, equal",
    async (format) => {
      const [whole, out] = [fresh("whole"), fresh("out")];
      await local(augmentArgs(data, whole, "--format", format));
      const { finished } = coordinate(out, "--format", format);
      const { child } = workers[1]!;
      let stopped = 0;
      for (let kills = 0; kills < 3; kills++) {
        await atWork(redis, workers[0]!);
        workers[0]!.child.kill("SIGKILL");
        if (kills === 1) {
          await redis.kill();
          await delay(500);
          await redis.start();
        }
        workers[0] = startWorker(redis);
        if (kills === 0) {
          // Hung from here on, so that the other one has work left to be killed at.
          await atWork(redis, workers[1]!);
          child.kill("SIGSTOP");
          stopped = performance.now();
        }
      }
      await delay(Math.max(0, 2 * LEASE * 1000 - (performance.now() - stopped)));
      child.kill("SIGCONT");
      const { code, stderr } = await finished;
      expect(code, stderr).toBe(0);
      // What was hung has gone on, and written what it had.
      await delay(2 * LEASE * 1000 + 1000);
      expectSame(out, whole);
      const lines = readFileSync(join(out, "manifest.jsonl"), "utf8").trimEnd().split("\n").slice(1);
      const keys = lines.map((line) => JSON.parse(line) as ManifestLine).map(({ key, copy }) => `${key} ${copy}`);
      expect(new Set(keys).size).toBe(160);
      expect(keys).toHaveLength(160);
    },
    600_000,
  );

  it.each([
    ["domain", ["--styles", "domain", "--domain", "2"]],
    ["bank", ["--styles", "bank", "--style-crop", "--strength", ".5:1", "--keep-originals"]],
    ["a table of the bank", ["--styles", "bank", "--method", "randstainna"]],
    ["the model", ["--method", "stylizing-vit:2,hed-jitter", "--copies", "1"]],
  ])(
    "styles by %s are those of a run without a queue",
    async (_, more) => {
      const [whole, out] = [fresh("whole"), fresh("out")];
      const bank = more.includes("bank") ? ["--style", data] : [];
      await local(augmentArgs(data, whole, ...more, ...bank));
      const { code, stderr } = await coordinate(out, ...more, ...bank).finished;
      expect(code, stderr).toBe(0);
      expectSame(out, whole);
    },
    600_000,
  );

  it("a Redis that is away for long is waited for by all, who say so once", async () => {
    const [whole, out] = [fresh("whole"), fresh("out")];
    await local(augmentArgs(data, whole));
    const worker = startWorker(redis);
    const { finished } = coordinate(out);
    await untilLines(out, 16);
    await redis.kill();
    await delay(45_000);
    await redis.start();
    const { code, stderr } = await finished;
    worker.child.kill("SIGTERM");
    const ended: Finished = await worker.finished;
    expect(code, stderr).toBe(0);
    for (const said of [stderr, ended.stderr]) {
      expect(said.match(/is gone: waiting for it/g)).toHaveLength(1);
      expect(said.match(/is back/g)).toHaveLength(1);
    }
    expect(ended.code).toBe(0);
    expectSame(out, whole);
  }, 600_000);

  it("a Redis that keeps what it has goes on where it was", async () => {
    const own = await OwnRedis.start("--appendonly", "yes", "--appendfsync", "always");
    const mine = [startWorker(own), startWorker(own)];
    try {
      const [whole, out] = [fresh("whole"), fresh("out")];
      await local(augmentArgs(data, whole));
      const { finished } = start(augmentArgs(data, out, "--queue", own.url), LONG);
      for (const lines of [16, 64, 96]) {
        await untilLines(out, lines);
        await own.kill();
        await own.start();
      }
      const { code, stderr } = await finished;
      expect(code, stderr).toBe(0);
      expectSame(out, whole);
    } finally {
      for (const { child } of mine) child.kill("SIGKILL");
      await own[Symbol.asyncDispose]();
    }
  }, 600_000);

  it("a coordinator that is killed is gone on with, by a run without a queue too", async () => {
    const [whole, out] = [fresh("whole"), fresh("out")];
    await local(augmentArgs(data, whole));
    for (const lines of [16, 48]) {
      const { child, finished } = coordinate(out);
      await untilLines(out, lines);
      child.kill("SIGKILL");
      await finished;
    }
    await local(augmentArgs(data, out));
    // A worker may be at a shard of it still; it writes the same.
    await delay(3000);
    expectSame(out, whole);
  }, 600_000);

  it("what is left in the queue of a run that was begun anew, or ended by itself, does nothing", async () => {
    const [whole, other, out] = [fresh("whole"), fresh("other"), fresh("out")];
    await local(augmentArgs(data, whole));
    await local(augmentArgs(data, other, "--seed", "6"));
    const first = coordinate(out);
    await untilLines(out, 16);
    first.child.kill("SIGKILL");
    await first.finished;
    const { code, stderr } = await coordinate(out, "--seed", "6", "--overwrite").finished;
    expect(code, stderr).toBe(0);
    expectSame(out, other);
    await local(augmentArgs(data, out, "--overwrite"));
    await delay(3000);
    expectSame(out, whole);
    // And workers are of use still.
    const last = fresh("last");
    expect((await coordinate(last).finished).code).toBe(0);
    expectSame(last, whole);
  }, 600_000);

  it("where every part fails, no further one is begun", async () => {
    const many = await tilesFolder(176, 32);
    const out = fresh("out");
    mkdirSync(out);
    // Files stand where folders should be.
    for (const name of ["normal", "tumour"]) writeFileSync(join(out, name), "");
    const args = augmentArgs(many, out, "--queue", redis.url, "--overwrite", "--json");
    const { code, stdout, stderr } = await start(args, LONG).finished;
    expect(code, stderr).toBe(1);
    const { failedShards, outputs } = JSON.parse(stdout) as AugmentReport;
    expect(outputs).toBe(0);
    expect(failedShards!.length).toBeGreaterThanOrEqual(16);
    expect(new Set(failedShards!.map(({ error }) => error.code))).toEqual(new Set(["OUTPUT"]));
    expect(stderr).toContain("no further one is begun");
  }, 600_000);

  it("a worker that is told to end does so while Redis is away", async () => {
    const own = await OwnRedis.start();
    const { child, finished } = start(augmentArgs(data, fresh("out"), "--queue", own.url), LONG);
    try {
      const worker = startWorker(own);
      await atWork(own, worker);
      await own.kill();
      worker.child.kill("SIGTERM");
      expect(await Promise.race([worker.finished.then(({ code }) => code), delay(30_000, "still there")])).toBe(0);
      child.kill("SIGTERM");
      expect((await finished).code).toBe(143);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  }, 600_000);

  it("is one coordinator's: a second one is refused, and takes over where the first is gone", async () => {
    const [whole, out] = [fresh("whole"), fresh("out")];
    await local(augmentArgs(data, whole));
    for (const { child } of workers) child.kill("SIGSTOP");
    const first = coordinate(out);
    await delay(3000);
    const refused = await coordinate(out, "--json").finished;
    expect(refused.code).toBe(1);
    expect(json<Failure>(refused).error).toMatchObject({ code: "QUEUE", fix: expect.stringContaining("worker") });
    const second = coordinate(out);
    first.child.kill("SIGKILL");
    await first.finished;
    for (const { child } of workers) child.kill("SIGCONT");
    const { code, stderr } = await second.finished;
    expect(code, stderr).toBe(0);
    expectSame(out, whole);
  }, 600_000);

  it("a worker may be at several parts at a time", async () => {
    const own = await OwnRedis.start();
    try {
      const [whole, out] = [fresh("whole"), fresh("out")];
      await local(augmentArgs(data, whole));
      const worker = startWorker(own, "--concurrency", "3", "--idle", "4", "--json");
      const { code, stderr } = await start(augmentArgs(data, out, "--queue", own.url), LONG).finished;
      expect(code, stderr).toBe(0);
      expectSame(out, whole);
      expect(json<WorkReport>(await worker.finished)).toMatchObject({ shards: 10, outputs: 160, lost: 0, failed: 0 });
    } finally {
      await own[Symbol.asyncDispose]();
    }
  }, 600_000);

  it.skipIf(!process.env.LAVAPIPE_NODE)(
    "workers of several adapters: lines name theirs (LAVAPIPE_NODE)",
    async () => {
      const own = await OwnRedis.start();
      const mesa = { env: { VK_DRIVER_FILES: process.env.LAVAPIPE_DRIVER, STYLIZING_VIT_ADAPTER: "auto" }, ...LONG };
      const args = ["worker", "--queue", own.url, "--workers", "0"];
      const children = [
        startWorker(own).child,
        startProgram(process.env.LAVAPIPE_NODE!, [MAIN, ...args, "--device", "llvmpipe"], mesa).child,
      ];
      try {
        const out = fresh("out");
        const { code, stderr } = await start(augmentArgs(data, out, "--queue", own.url), LONG).finished;
        expect(code, stderr).toBe(0);
        expect(stderr).toContain("has other adapters than the first worker");
        const [header, ...lines] = readFileSync(join(out, "manifest.jsonl"), "utf8").trimEnd().split("\n");
        const adapters = new Set(
          [JSON.parse(header!), ...lines.map((line) => JSON.parse(line))].map((one) => JSON.stringify(one.adapters)),
        );
        expect(adapters.size).toBe(3);
        const replayed = await run(["replay", join(out, "manifest.jsonl")], LONG);
        expect(replayed.code, replayed.stderr).toBe(0);
      } finally {
        for (const child of children) child.kill("SIGKILL");
        await own[Symbol.asyncDispose]();
      }
    },
    600_000,
  );

  it("a process for each device takes parts, and ends where there are no more", async () => {
    const own = await OwnRedis.start();
    try {
      const [whole, out] = [fresh("whole"), fresh("out")];
      await local(augmentArgs(data, whole));
      const worker = start(["worker", "--queue", own.url, "--devices", "all", "--idle", "4", "--json"], LONG);
      const { code, stderr } = await start(augmentArgs(data, out, "--queue", own.url), LONG).finished;
      expect(code, stderr).toBe(0);
      expectSame(out, whole);
      const { workers } = json<{ workers: { device: string; code: number; report: WorkReport }[] }>(await worker.finished);
      expect(workers.map(({ code: ended }) => ended)).toEqual(workers.map(() => 0));
      expect(workers.reduce((sum, { report }) => sum + report.shards, 0)).toBe(10);
      expect(workers.reduce((sum, { report }) => sum + report.outputs, 0)).toBe(160);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  }, 600_000);

  it("two runs at once share the workers", async () => {
    const pairs = ["3", "4"].map((seed) => ({ seed, whole: fresh("whole"), out: fresh("out") }));
    for (const { seed, whole } of pairs) await local(augmentArgs(data, whole, "--seed", seed));
    const all = await Promise.all(pairs.map(({ seed, out }) => coordinate(out, "--seed", seed).finished));
    for (const { code, stderr } of all) expect(code, stderr).toBe(0);
    for (const { whole, out } of pairs) expectSame(out, whole);
  }, 600_000);

  it("a coordinator that is stopped takes back what nobody has begun, and ends without a Redis too", async () => {
    const out = fresh("out");
    for (const isAway of [false, true]) {
      const { child, finished } = coordinate(out);
      await untilLines(out, isAway ? 48 : 16);
      if (isAway) await redis.kill();
      await delay(isAway ? 500 : 0);
      child.kill("SIGTERM");
      const { code, stderr } = await finished;
      expect(code, stderr).toBe(143);
      if (isAway) await redis.start();
    }
    expect(existsSync(join(out, ".stylizing-vit-queue"))).toBe(true);
    const { code, stderr } = await coordinate(out).finished;
    expect(code, stderr).toBe(0);
    expect(existsSync(join(out, ".stylizing-vit-queue"))).toBe(false);
  }, 600_000);

  it("samples that cannot be read are lines as in a run without a queue", async () => {
    const [whole, out] = [fresh("whole"), fresh("out")];
    const torn = fresh("torn");
    mkdirSync(join(torn, "a"), { recursive: true });
    cpSync(data, torn, { recursive: true });
    const first = JSON.parse(readFileSync(join(data, "index.json"), "utf8")) as { image: string }[];
    for (const { image } of first.slice(3, 6)) writeFileSync(join(torn, image), "no image");
    const one = await run(augmentArgs(torn, whole), LONG);
    const two = await start(augmentArgs(torn, out, "--queue", redis.url), LONG).finished;
    expect([one.code, two.code]).toEqual([1, 1]);
    expectSame(out, whole);
  }, 600_000);
});
