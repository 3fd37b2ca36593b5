import { spawn } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { TrainingProgress } from "../../src/train/progress.js";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.js";
import { build } from "../command/command.js";
import { Random } from "../support/random.js";
import { SLOW } from "../support/slow.js";
import { fakeHost } from "./fake-host.mjs";
import { follow, newRun, options, outcome, readLog, readTensors, writeImages } from "./runs.js";

/** Times that a run is killed. */
const KILLS = SLOW ? 12 : 5;

/** What an unbroken run of `short` came to. */
let unbroken: Awaited<ReturnType<typeof outcome>>;
let unbrokenRun: string;

const short = (out: string, changes: Partial<TrainerOptions> = {}) => options(out, { epochs: 3, ...changes });

const create = (given: TrainerOptions) => Trainer.create(given, fakeHost());

beforeAll(async () => {
  // A child process runs what is compiled.
  await build();
  await writeImages("training", 14);
  await writeImages("judging", 7);
  unbrokenRun = newRun();
  await using trainer = await create(short(unbrokenRun));
  await follow(trainer);
  unbroken = await outcome(unbrokenRun);
});

describe("a run that is resumed", () => {
  it("ends as the unbroken one, wherever it was left without a word", async () => {
    const random = new Random("interrupted");
    let instants = 0;
    while (instants < 10) {
      const out = newRun();
      for (;;) {
        const trainer = await create(short(out, { resume: true, reportEverySteps: 1 + random.integer(4) }));
        let events = 1 + random.integer(14);
        const seen = await follow(trainer, () => --events === 0);
        await trainer.dispose();
        if (events > 0 || seen.length === 0) break;
        instants++;
      }
      expect(await outcome(out)).toEqual(unbroken);
    }
  });

  it("ends as the unbroken one where it was stopped, and loses no step", async () => {
    const random = new Random("stopped");
    for (let instant = 0; instant < 2; instant++) {
      const out = newRun();
      const at = 1 + random.integer(19);
      // A state is written only because it was stopped.
      const given = short(out, { reportEverySteps: 1, checkpointSteps: 1000, resume: true });
      const trainer = await create(given);
      const stop = new AbortController();
      const reason = new Error("enough");
      const seen: TrainingProgress[] = [];
      let steps = 0;
      const run = (async () => {
        for await (const event of trainer.run({ signal: stop.signal })) {
          seen.push(event);
          if (event.kind === "step" && ++steps === at) stop.abort(reason);
        }
      })();
      await expect(run).rejects.toBe(reason);
      await trainer.dispose();
      expect(seen.at(-1)).toEqual({ kind: "note", text: expect.stringMatching(/^stopped in epoch \d after step \d; --resume/) });
      await using again = await create(given);
      const { epoch, step } = again.report.resumed!;
      expect(epoch * 7 + step).toBe(at);
      await follow(again);
      expect(await outcome(out)).toEqual(unbroken);
    }
  });

  it("is not spoilt by a reader that looked away and came back", async () => {
    const out = newRun();
    const given = short(out, { checkpointSteps: 1000, resume: true });
    const trainer = await create(given);
    await follow(trainer, (event) => event.kind === "step" && event.epoch === 2);
    const stop = new AbortController();
    stop.abort(new Error("at once"));
    await expect(follow(trainer, undefined, stop.signal)).rejects.toThrow("at once");
    await trainer.dispose();
    await using again = await create(given);
    expect(again.report.resumed).toEqual({ epoch: 1, step: 3 });
    await follow(again);
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("goes on in the same process too", async () => {
    const out = newRun();
    await using trainer = await create(short(out));
    const stop = new AbortController();
    const first = follow(
      trainer,
      (event) => {
        if (event.kind === "step" && event.epoch === 2) stop.abort(new Error("for now"));
        return false;
      },
      stop.signal,
    );
    await expect(first).rejects.toThrow("for now");
    await follow(trainer);
    expect(await outcome(out)).toEqual(unbroken);
    expect(await follow(trainer)).toEqual([]);
  });

  it("ends as the unbroken one after kill -9 at random moments, and every file was whole at each of them", async () => {
    const random = new Random("killed");
    const out = newRun();
    const child = fileURLToPath(new URL("child.mjs", import.meta.url));
    const given = JSON.stringify({ ...short(out, { resume: true, checkpointSteps: 1 }), delay: 2 });
    let kills = 0;
    for (let ended = false; !ended; ) {
      const running = spawn(process.execPath, [child, given], { stdio: ["ignore", "pipe", "inherit"] });
      const over = new Promise<number | null>((resolve) => running.once("close", resolve));
      const lines = createInterface({ input: running.stdout });
      await new Promise<void>((resolve) => {
        lines.once("line", () => resolve());
        running.once("close", () => resolve());
      });
      // So many times within the run, then it may end.
      if (kills < KILLS) {
        await delay(random.uniform(0, 60));
        running.kill("SIGKILL");
      }
      const code = await over;
      expect([0, null]).toContain(code);
      ended = code === 0;
      if (!ended) kills++;
      if (existsSync(join(out, "last.safetensors"))) await readTensors(join(out, "last.safetensors"));
      if (existsSync(join(out, "model.safetensors"))) await readTensors(join(out, "model.safetensors"));
      if (existsSync(join(out, "log.jsonl"))) readLog(out);
    }
    expect(kills).toBeGreaterThan(KILLS / 3);
    expect(await outcome(out)).toEqual(unbroken);
    expect(readdirSync(out).filter((name) => name.endsWith(".partial"))).toEqual([]);
  });

  it("cuts its log to what its state knows, and removes what killed writers left", async () => {
    const out = newRun();
    const trainer = await create(short(out));
    await follow(trainer, (event) => event.kind === "epoch" && event.epoch === 2);
    await trainer.dispose();
    const log = readFileSync(join(out, "log.jsonl"), "utf8");
    writeFileSync(join(out, "log.jsonl"), `${log}${log.split("\n")[1]!.replace('"epoch":2', '"epoch":3')}\n{"half`);
    const left = [
      "last.safetensors.123.0123456789ab.partial",
      ".log.jsonl.9.aaaaaaaaaaaa.partial",
      "sheets/.epoch-0001.png.1.0123456789ab.partial",
    ];
    for (const name of left) writeFileSync(join(out, name), "half");
    writeFileSync(join(out, "my.partial"), "kept");
    const again = await create(short(out, { resume: true }));
    expect(readFileSync(join(out, "log.jsonl"), "utf8")).toBe(log);
    for (const name of left) expect(existsSync(join(out, name)), name).toBe(false);
    expect(existsSync(join(out, "my.partial"))).toBe(true);
    await follow(again);
    await again.dispose();
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("needs no options but its folders", async () => {
    const out = newRun();
    const given = short(out);
    const trainer = await create(given);
    await follow(trainer, (event) => event.kind === "epoch");
    await trainer.dispose();
    const { data, val } = given;
    await using again = await create({ data, val, out, workers: 0, resume: true });
    await follow(again);
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("may be given more epochs: its rates are then those of a run of so many, whenever it is left", async () => {
    const [atOnce, left] = [newRun(), newRun()];
    for (const out of [atOnce, left]) cpSync(unbrokenRun, out, { recursive: true });
    const notes: string[] = [];
    const longer = (out: string) => short(out, { resume: true, epochs: 5, onNote: (text) => notes.push(text) });
    {
      await using trainer = await create(longer(atOnce));
      await follow(trainer);
    }
    expect(notes).toEqual([expect.stringMatching(/^5 epochs instead of 3: the learning rate goes on along the cosine/)]);
    const { log, config } = await outcome(atOnce);
    expect(log.slice(0, 3)).toEqual(unbroken.log);
    const rate = (epochs: number, epoch: number) => 0.025 * (1 + Math.cos((Math.PI * epoch) / epochs));
    for (const [epoch, { learningRate }] of log.entries()) expect(learningRate).toBeCloseTo(rate(epoch < 3 ? 3 : 5, epoch), 12);
    expect(log).toHaveLength(5);
    expect(JSON.parse(config).training.epochs).toBe(5);
    // Left before and behind the first state of an epoch, and gone on with by its own options.
    for (const given of [longer(left), short(left, { resume: true, epochs: undefined })]) {
      await using trainer = await create(given);
      expect(trainer.report.recipe.epochs).toBe(5);
      await follow(trainer, (event) => event.kind === "step");
    }
    await using trainer = await create(short(left, { resume: true, epochs: undefined }));
    await follow(trainer);
    expect(await outcome(left)).toEqual(await outcome(atOnce));
  });

  it("may be given other epochs in the middle, but none that is behind it", async () => {
    const out = newRun();
    {
      await using trainer = await create(short(out));
      await follow(trainer, (event) => event.kind === "step" && event.epoch === 2 && event.step > 3);
    }
    await expect(create(short(out, { resume: true, epochs: 1 }))).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/--epochs is 1, and the run in .* is in epoch 2 already/),
    });
    await using trainer = await create(short(out, { resume: true, epochs: 2 }));
    await follow(trainer);
    const log = readLog(out);
    expect(log).toHaveLength(2);
    expect(log[0]).toMatchObject({ learningRate: unbroken.log[0]!.learningRate });
    expect(log[1]!.learningRate).toBeCloseTo(0.025, 12);
  });

  it("has nothing left to do where it was done", async () => {
    await using trainer = await create(short(unbrokenRun, { resume: true }));
    expect(await follow(trainer)).toEqual([]);
    expect(await outcome(unbrokenRun)).toEqual(unbroken);
  });
});
