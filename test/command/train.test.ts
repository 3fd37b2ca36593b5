import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type TrainDocument, type TrainFlags, train } from "../../src/command/train.js";
import type { EpochReport } from "../../src/train/progress.js";
import { type Faults, fakeHost } from "../train/fake-host.mjs";
import { CLASSES, CONFIG, newRun, options, readLog, root, writeClasses, writeImages } from "../train/runs.js";
import { build, type Failure, fresh, HERE, imageFile, run } from "./command.js";

beforeAll(async () => {
  await build();
  await writeImages("training", 14);
  await writeImages("judging", 7);
});

const paths = (out: string) => ["--data", join(root, "training"), "--val", join(root, "judging"), "--out", out];

/** The last line on stdout, and what was said. */
async function failing(args: readonly string[], code: number) {
  const finished = await run(["train", ...args, "--json"], HERE);
  expect(finished.code, finished.stderr).toBe(code);
  const lines = finished.stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(1);
  return { ...(JSON.parse(lines[0]!) as Failure & { done: boolean }), stderr: finished.stderr };
}

describe("wrong usage ends with 2 and says what is wrong", () => {
  it.each<[string, string[], RegExp]>([
    ["no data", ["--val", "v", "--out", "o"], /no training images: no folder of them is given\..*--data/],
    [
      "no validation",
      ["--data", join(root, "training"), "--out", "o"],
      /no validation images: no folder of them is given\..*--val/,
    ],
    ["no folder", ["--data", "d", "--val", "v"], /required option '--out <folder>'/],
    ["no epochs", [...paths("o"), "--epochs", "0"], /argument '0' is invalid\. It must be a positive whole number/],
    ["a rate of nothing", [...paths("o"), "--lr", "0"], /argument '0' is invalid\. It must be a number above 0/],
    ["a rate of words", [...paths("o"), "--clip", "much"], /argument 'much' is invalid/],
    ["a negative decay", [...paths("o"), "--weight-decay", "-1"], /It must be a number from 0 on/],
    ["three weights", [...paths("o"), "--loss-weights", "70,1,7"], /It must be 4 numbers from 0 on/],
    ["an empty weight", [...paths("o"), "--loss-weights", "70,,7,10"], /It must be 4 numbers from 0 on/],
    ["an unknown crop", [...paths("o"), "--crop", "middle"], /Allowed choices are whole, random/],
    ["minutes of words", [...paths("o"), "--checkpoint-minutes", "soon"], /It must be a number from 0 on/],
    ["a checkpoint in no step", [...paths("o"), "--checkpoint-steps", "0"], /It must be a positive whole number/],
    ["a mean of words", [...paths("o"), "--mean", "a,b,c"], /It must be numbers with commas between/],
  ])("%s", async (_, args, message) => {
    const { code, stdout, stderr } = await run(["train", ...args, "--json"], HERE);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "ARGUMENT" } });
  });

  it.each<[string, string[], RegExp]>([
    ["a batch of one", ["--batch", "1"], /batch is 1\..*from 2 on/],
    ["a batch that images do not fill", [], /14 images × 1 crops does not fill a batch of 64.*--crops/],
    ["another size than a model's", ["--init", "demo", "--image-size", "64"], /demo takes images of 96 pixels/],
    ["an unknown preset", ["--preset", "huge"], /Unknown preset "huge"/],
    ["an unknown model", ["--init", "tiny/camelyon17"], /no published model/],
  ])("%s", async (_, args, message) => {
    const out = fresh("out");
    const { done, error, stderr } = await failing([...paths(out), ...args], 2);
    expect(done).toBe(false);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
    expect(stderr).toMatch(message);
    if (existsSync(out)) expect(readdirSync(out)).toEqual([]);
  });

  it("missing folders, and folders without images", async () => {
    const [empty, out] = [fresh(), fresh("out")];
    const missing = await failing(["--data", join(empty, "gone"), "--val", empty, "--out", out], 2);
    expect(missing.error.message).toMatch(/training images .*gone do not exist/);
    const none = await failing(["--data", join(root, "training"), "--val", empty, "--out", out], 2);
    expect(none.error.message).toMatch(/no validation images in .*Give folders/);
    expect(existsSync(out)).toBe(false);
  });

  it("a folder that holds a model already", async () => {
    const out = fresh();
    writeFileSync(join(out, "model.safetensors"), "a model");
    for (const more of [[], ["--resume"]]) {
      const { error } = await failing([...paths(out), ...more], 2);
      expect(error.message).toMatch(/model\.safetensors is there already, and no run that wrote it/);
    }
    expect(readdirSync(out)).toEqual(["model.safetensors"]);
  });
});

it("what cannot be used ends with 1, and too little with 2", async () => {
  const config = fresh("config.json");
  writeFileSync(config, JSON.stringify({ ...CONFIG, embed_dim: 50, num_heads: 1 }));
  const out = fresh("out");
  expect((await failing([...paths(out), "--config", config], 1)).error).toMatchObject({ code: "CONFIG" });
  const [file, folder] = [fresh("file"), fresh()];
  writeFileSync(file, "in the way");
  expect((await failing([...paths(join(file, "out")), "--batch", "4"], 1)).error).toMatchObject({ code: "OUTPUT" });
  for (const name of ["a.png", "b.png"]) writeFileSync(join(folder, name), "no image");
  const given = ["--data", join(root, "training"), "--val", folder, "--out", out, "--batch", "4"];
  const { error, stderr } = await failing(given, 2);
  expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("Of 2 validation images 0 can be read") });
  expect(stderr).toContain(`left out ${join(folder, "a.png")}`);
});

describe("a run on a device that is none", () => {
  /** Runs in this process and catches what is printed. */
  async function capture(changes: object, faults: Faults = {}, signal = new AbortController().signal) {
    const printed = { stdout: "", stderr: "" };
    const spies = (["stdout", "stderr"] as const).map((stream) =>
      vi.spyOn(process[stream], "write").mockImplementation((text) => {
        printed[stream] += String(text);
        return true;
      }),
    );
    const out = newRun();
    const { config: _, ...given } = options(out);
    const file = join(root, "config.json");
    writeFileSync(file, JSON.stringify(CONFIG));
    try {
      const flags = { ...given, out, config: file, precision: "auto", ...changes } as TrainFlags;
      const error = await train(flags, signal, fakeHost(faults)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      return { ...printed, out: flags.out, error };
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
  }

  it("prints a line an epoch and a last one, and tells people on stderr", async () => {
    const { stdout, stderr, out, error } = await capture({ json: true, workers: 0 });
    expect(error).toBeUndefined();
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as EpochReport | TrainDocument);
    expect(lines.slice(0, -1)).toEqual(readLog(out));
    const best = readLog(out).findLast((line) => line.best);
    expect(lines.at(-1)).toMatchObject({
      done: true,
      epochs: 4,
      best,
      images: 14,
      validation: 7,
      out,
      recipe: { vgg: "random:1" },
    });
    expect(stderr).toMatch(/^mean .* and std .* were measured over 14 images$/m);
    expect(stderr).toMatch(
      /training 1 layers of 48 at 16 pixels on 14 images × 2 crops, 7 steps of 4 an epoch, 4 epochs; losses from VGG-19 random:1; on fake, f32/,
    );
    expect(
      stderr.match(
        /^epoch \d: loss .*\(identity .*, style .*\); validation .*; reconstruction .* dB, SSIM .*; .* images\/s, \d+ s$/gm,
      ),
    ).toHaveLength(4);
    expect(stderr).toMatch(new RegExp(`done: the model of epoch ${best!.epoch}`));
  });

  it("prints nothing on stdout without --json, and goes on where it was left", async () => {
    const stop = new AbortController();
    const reason = new Error("stopped");
    const faults: Faults = { delay: 20 };
    const poll = setInterval(() => (faults.done ?? 0) > 5 && stop.abort(reason), 5);
    const first = await capture({ checkpointSteps: 100 }, faults, stop.signal);
    clearInterval(poll);
    expect(first.error).toBe(reason);
    expect(first.stdout).toBe("");
    expect(first.stderr).toMatch(/stopped in epoch \d after step \d; --resume goes on from there/);
    const second = await capture({ out: first.out, resume: true });
    expect(second.error).toBeUndefined();
    expect(second.stderr).toMatch(/resumed in epoch \d after step \d/);
    expect(readLog(first.out)).toHaveLength(4);
  });
});

it("images in the run's own folder are no training images", async () => {
  const data = fresh();
  const out = join(data, "out");
  mkdirSync(out);
  await imageFile(join(out, "sheet.png"), 1);
  const { error } = await failing(["--data", data, "--val", join(root, "judging"), "--out", out], 2);
  expect(error.message).toMatch(/no training images/);
});

// One that paints stands in train.slow.test.ts: a VGG-19 that nothing makes thinner takes a CPU long.
it("a run with nothing made up: images, classes, a model that classifies", async () => {
  const [data, val] = [await writeClasses("classes", [3, 3, 2]), await writeClasses("judged classes", [1, 1, 1])];
  const [out, config] = [fresh("out"), fresh("config.json")];
  const shape = { kind: "vit", image_size: 16, in_channels: 3, patch_size: 8, embed_dim: 24, depth: 1, num_heads: 2 };
  writeFileSync(config, JSON.stringify({ ...shape, mlp_ratio: 2, qkv_bias: true, num_classes: 3 }));
  const args = ["--task", "classify", "--config", config, "--batch", "4", "--epochs", "2", "--adapter", "software"];
  const finished = await run(["train", "--data", data, "--val", val, "--out", out, ...args, "--json"]);
  expect(finished.code, finished.stderr).toBe(0);
  const lines = finished.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines).toHaveLength(3);
  const [first, second, document] = lines;
  expect(first).toMatchObject({ epoch: 1, step: 2, best: true });
  expect(second).toMatchObject({ epoch: 2, step: 4 });
  for (const { training, validation, accuracy } of [first, second]) {
    for (const losses of [training, validation])
      expect(losses).toEqual({ crossEntropy: losses.total, total: expect.any(Number) });
    expect(accuracy).toBeGreaterThanOrEqual(0);
  }
  expect(document).toMatchObject({ done: true, epochs: 2, microBatch: 4, tier: "f32", images: 8, validation: 3, out });
  expect(document.adapter.software).toBe(true);
  expect(readLog(out)).toEqual([first, second]);
  expect(finished.stderr).toMatch(/on SwiftShader, f32 \(a CPU: slow\)/);
  const files = ["config.json", "model.safetensors", "last.safetensors", "log.jsonl", "curve.svg", "confusion.svg"];
  for (const name of files) expect(existsSync(join(out, name)), name).toBe(true);
  const classified = await run(["classify", val, "--model", out, "--json"]);
  expect(classified.code, classified.stderr).toBe(0);
  const report = JSON.parse(classified.stdout);
  expect(report).toMatchObject({ classes: CLASSES, done: 3, failed: 0, imageSize: 16 });
  for (const { label } of report.images) expect(CLASSES).toContain(label);
});
