import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { AugmentReport } from "../../src/augment/augment-data-set.js";
import { reportOf } from "../../src/augment/queue/job.js";
import { placeOf } from "../../src/augment/queue/redis.js";
import { hasRedis, OwnRedis } from "../support/redis.js";
import { build, type Failure, fresh, HERE, json, run, runJson, start } from "./command.js";
import { atWork, augmentArgs, expectSame, LEASE, type Running, startWorker, tilesFolder, untilLines } from "./queue.js";

let data: string;
/** Made without a queue. */
let whole: string;

beforeAll(async () => {
  await build();
  data = await tilesFolder(48, 48);
  whole = fresh("whole");
  const { code, stderr } = await run(augmentArgs(data, whole), HERE);
  expect(code, stderr).toBe(0);
});

/** Nothing of the queue's libraries can be loaded. */
const withoutLibraries = () => {
  const hook = fresh("hook.mjs");
  const refuse = `export const resolve = (name, about, next) => {
    if (/^(bullmq|ioredis)/.test(name)) throw new Error("refused: " + name);
    return next(name, about);
  };`;
  writeFileSync(hook, `import { register } from "node:module"; register("data:text/javascript,${encodeURIComponent(refuse)}");`);
  return { NODE_OPTIONS: `--import ${hook}` };
};

describe("without a queue", () => {
  it("loads nothing of it", async () => {
    const few = await tilesFolder(2, 32);
    const env = withoutLibraries();
    const { code, stderr } = await run(augmentArgs(few, fresh("out")), { env });
    expect(code, stderr).toBe(0);
    const refused = await run(augmentArgs(few, fresh("other"), "--queue", "redis://127.0.0.1:9"), { env });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("refused: ioredis");
  });
});

describe("an address", () => {
  it.each([
    ["redis://localhost", "redis://localhost:6379"],
    ["redis://me:secret@db.example:7000/3", "redis://db.example:7000/3"],
    ["rediss://db.example:7000/", "rediss://db.example:7000"],
  ])("%s is called %s, without a password", (url, place) => {
    expect(placeOf(url)).toBe(place);
  });

  it.each(["", "localhost:6379", "http://localhost", "redis://", "redis://localhost/name", "redis://localhost:port"])(
    "%j is none",
    async (url) => {
      for (const args of [augmentArgs(data, fresh("out"), "--queue", url), ["worker", "--queue", url]]) {
        const { error } = await runJson<Failure>(args, 2, HERE);
        expect(error).toMatchObject({ code: "ARGUMENT", fix: expect.stringContaining("redis://HOST:PORT") });
      }
    },
  );

  it("where no Redis is, is an error at once, and nothing is written", async () => {
    const out = fresh("out");
    for (const args of [augmentArgs(data, out, "--queue", "redis://127.0.0.1:9"), ["worker", "--queue", "redis://127.0.0.1:9"]]) {
      const { error } = await runJson<Failure>(args, 1, HERE);
      expect(error).toMatchObject({ code: "QUEUE", fix: expect.stringContaining("redis-server") });
      expect(error.message).toContain("ECONNREFUSED");
    }
    expect(existsSync(out)).toBe(false);
  });
});

it("a failed job's error is read, whatever it says", () => {
  expect(reportOf('{"code":"IMAGE","message":"It is torn. Mend it.","fix":"Mend it."}')).toMatchObject({ code: "IMAGE" });
  for (const reason of [undefined, "", "job stalled more than allowable limit", "null", "{}", "[1]"])
    expect(reportOf(reason)).toMatchObject({ code: "QUEUE", message: expect.stringMatching(/^\S.+ Look at the workers/) });
});

describe.skipIf(!hasRedis)("with a Redis (redis-server)", () => {
  let redis: OwnRedis;
  let workers: Running[];
  const coordinate = (out: string, ...more: string[]) =>
    start([...augmentArgs(data, out, "--queue", redis.url), ...more], { longest: 100_000 });

  beforeAll(async () => {
    redis = await OwnRedis.start();
    workers = [startWorker(redis), startWorker(redis)];
  });
  afterAll(async () => {
    for (const { child } of workers) child.kill("SIGKILL");
    await redis[Symbol.asyncDispose]();
  });

  it.each(["folder", "csv"])("two workers make what one process makes: %s", async (format) => {
    const [out, local] = [fresh("out"), format === "folder" ? whole : fresh("local")];
    if (format !== "folder") expect((await run(augmentArgs(data, local, "--format", format), HERE)).code).toBe(0);
    const report = json<AugmentReport>(await coordinate(out, "--format", format, "--json").finished);
    expect(report).toMatchObject({ samples: 48, outputs: 96, failed: 0, skipped: 0 });
    expectSame(out, local);
    if (format !== "folder") return;
    // Again: nothing is left to do, for nobody.
    const again = json<AugmentReport>(await coordinate(out, "--format", format, "--json").finished);
    expect(again).toMatchObject({ outputs: 0, skipped: 48 });
    expectSame(out, local);
  });

  it("a coordinator that is killed is gone on with", async () => {
    const out = fresh("out");
    const first = coordinate(out);
    await untilLines(out, 16);
    first.child.kill("SIGKILL");
    await first.finished;
    const { code, stderr } = await coordinate(out).finished;
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/\d+ of 48 samples are in/);
    expectSame(out, whole);
  });

  it("a Redis that comes back without a memory is given what it lost", async () => {
    const out = fresh("out");
    const { finished } = coordinate(out);
    await untilLines(out, 16);
    await redis.kill();
    await delay(300);
    await redis.start();
    const { code, stderr } = await finished;
    expect(code, stderr).toBe(0);
    expect(stderr.match(/is gone: waiting for it/g)).toHaveLength(1);
    expect(stderr.match(/is back/g)).toHaveLength(1);
    expectSame(out, whole);
  });

  it("a shard that fails is tried again, listed, and the rest is done; the same command makes it", async () => {
    const out = fresh("out");
    const first = readFileSync(join(whole, "manifest.jsonl"), "utf8").split("\n")[1]!;
    const { output } = JSON.parse(first) as { output: string };
    // A folder stands where a file should be.
    mkdirSync(join(out, output), { recursive: true });
    const finished = await coordinate(out, "--overwrite", "--json").finished;
    expect(finished.code).toBe(1);
    const report = json<AugmentReport>(finished);
    expect(report.failedShards).toEqual([{ first: 0, groups: 1, error: expect.objectContaining({ code: "OUTPUT" }) }]);
    expect(finished.stderr).toContain("not made: groups 0 to 0");
    rmdirSync(join(out, output));
    const again = json<AugmentReport>(await coordinate(out, "--json").finished);
    expect(again).toMatchObject({ outputs: 96, failed: 0 });
    expect(again.failedShards).toBeUndefined();
    expectSame(out, whole);
  });

  it("workers that are killed or hang are replaced, and one that wakes up does no harm", async () => {
    const out = fresh("out");
    const { finished } = coordinate(out);
    const [one, two] = workers as [Running, Running];
    await atWork(redis, one);
    one.child.kill("SIGKILL");
    workers[0] = startWorker(redis);
    await atWork(redis, two);
    two.child.kill("SIGSTOP");
    const { code, stderr } = await finished;
    expect(code, stderr).toBe(0);
    expectSame(out, whole);
    await delay(2 * LEASE * 1000);
    two.child.kill("SIGCONT");
    await delay(1500);
    expectSame(out, whole);
    // It is of use again, and ends when it is told to.
    two.child.kill("SIGTERM");
    const { code: ended, stderr: said } = await two.finished;
    expect(ended, said).toBe(0);
    workers[1] = startWorker(redis);
  });

  it("a worker that cannot open the run gives its shard back and ends", async () => {
    const own = await OwnRedis.start();
    try {
      const out = fresh("out");
      const other = await tilesFolder(3, 32);
      const { child, finished } = start(augmentArgs(data, out, "--queue", own.url), { longest: 100_000 });
      for (const [args, problem] of [
        [["--in", fresh("nowhere")], "There are no images"],
        [["--in", other], "has 3 samples here, and 48"],
      ] as const) {
        const { code, stderr } = await startWorker(own, ...args).finished;
        expect(code, stderr).toBe(2);
        expect(stderr).toContain(problem);
      }
      child.kill("SIGTERM");
      expect((await finished).code).toBe(143);
      // Nothing was made, and the next run is not refused for what lies there.
      const { code, stderr } = await run(augmentArgs(data, out), HERE);
      expect(code, stderr).toBe(0);
      expectSame(out, whole);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
