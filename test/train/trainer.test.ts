import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import { findModel } from "../../src/models/open.js";
import { LOSS_WEIGHTS } from "../../src/models/stylizing-vit/losses.js";
import { modelParameters } from "../../src/models/stylizing-vit/parameters.js";
import { evaluationBatches } from "../../src/train/epoch.js";
import type { TrainingProgress } from "../../src/train/progress.js";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.js";
import { totalLoss } from "../../src/train/types.js";
import { build } from "../command/command.js";
import { type Faults, fakeHost } from "./fake-host.mjs";
import { CONFIG, follow, newRun, options, outcome, readLog, readTensors, root, timeless, writeImages } from "./runs.js";

/** What an unbroken run of `options` came to. */
let unbroken: Awaited<ReturnType<typeof outcome>>;
let unbrokenRun: string;
let unbrokenEvents: TrainingProgress[];

const create = (given: TrainerOptions, faults: Faults = {}) => Trainer.create(given, fakeHost(faults));

/** A run from its beginning, or from where it stands, to its end. */
async function complete(given: TrainerOptions, faults: Faults = {}): Promise<TrainingProgress[]> {
  await using trainer = await create(given, faults);
  return await follow(trainer);
}

beforeAll(async () => {
  // Threads run what is compiled.
  await build();
  await writeImages("training", 14);
  await writeImages("judging", 7);
  unbrokenRun = newRun();
  unbrokenEvents = await complete(options(unbrokenRun));
  unbroken = await outcome(unbrokenRun);
});

describe("a run", () => {
  it("tells of steps and epochs", () => {
    const steps = unbrokenEvents.filter((event) => event.kind === "step");
    // Every third step, those after which a state is written, and the last.
    expect(steps.filter(({ epoch }) => epoch === 2).map(({ step }) => step)).toEqual([2, 3, 4, 6, 7]);
    for (const { losses, imagesPerSecond, secondsLeft, ...step } of steps) {
      expect(step).toMatchObject({ epochs: 4, steps: 7, learningRate: expect.any(Number), gradientNorm: expect.any(Number) });
      expect(losses.total).toBeCloseTo(totalLoss(losses, LOSS_WEIGHTS), 12);
      expect(imagesPerSecond).toBeGreaterThan(0);
      expect(secondsLeft).toBeGreaterThanOrEqual(0);
    }
    const epochs = unbrokenEvents.filter((event) => event.kind === "epoch");
    expect(epochs.map(({ kind, ...line }) => line)).toEqual(readLog(unbrokenRun));
    expect(unbrokenEvents.some(({ kind }) => kind === "note")).toBe(false);
  });

  it("lowers the learning rate along a cosine, once an epoch, and logs means over the epoch", () => {
    const { log } = unbroken;
    expect(log.map(({ epoch, step }) => [epoch, step])).toEqual([1, 2, 3, 4].map((epoch) => [epoch, 7 * epoch]));
    for (const [i, { learningRate, training, validation, psnr, ssim, colour }] of log.entries()) {
      expect(learningRate).toBeCloseTo(0.025 * (1 + Math.cos((Math.PI * i) / 4)), 12);
      expect(training.total).toBeCloseTo(totalLoss(training, LOSS_WEIGHTS), 12);
      expect(validation.total).toBeCloseTo(totalLoss(validation, LOSS_WEIGHTS), 12);
      expect(psnr).toBeGreaterThan(10);
      expect(ssim).toBeGreaterThan(0.1);
      expect(colour).toBeGreaterThan(0);
    }
    const steps = unbrokenEvents.filter((event) => event.kind === "step" && event.epoch === 3);
    let [sum, before] = [0, 0];
    for (const event of steps) {
      if (event.kind !== "step") continue;
      sum += event.losses.style! * (event.step - before);
      before = event.step;
    }
    expect(log[2]!.training.style).toBeCloseTo(sum / 7, 12);
  });

  it("leaves a model of the best epoch, and the latest weights as a checkpoint", async () => {
    const found = await findModel(unbrokenRun);
    expect(found.config).toMatchObject(CONFIG);
    const { training, ...config } = JSON.parse(unbroken.config) as { training: unknown };
    expect(found.config).toEqual(config);
    expect(training).toMatchObject({ vgg: "random:1", epochs: 4, batch: 4, lossWeights: LOSS_WEIGHTS });
    for (const value of [...found.config.mean!, ...found.config.std!]) expect(value).toBe(Math.round(value * 1e4) / 1e4);
    const best = Math.min(...unbroken.log.map(({ validation }) => validation.total));
    expect(unbroken.log.findLast((line) => line.best)!.validation.total).toBe(best);
    await using last = await Checkpoint.open(join(unbrokenRun, "last.safetensors"));
    for (const [key, values] of modelParameters(found.config).parameters.initial(3)) {
      expect(unbroken.best.get(key)!.length).toBe(values.length);
      expect(last.shapes.get(key)).toBeDefined();
      expect(last.shapes.get(`optimizer.second.${key}`)).toEqual(last.shapes.get(key));
    }
    expect((await findModel(join(unbrokenRun, "last.safetensors"))).config).toEqual(found.config);
  });

  it("draws a curve and sheets, and leaves nothing else", () => {
    const sheets = ["sheets/epoch-0001.png", "sheets/epoch-0002.png", "sheets/epoch-0003.png", "sheets/epoch-0004.png"];
    const files = readdirSync(unbrokenRun, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const names = files.map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(unbrokenRun.length + 1)
        .replaceAll("\\", "/"),
    );
    const rest = ["config.json", "curve.svg", "last.safetensors", "log.jsonl", "model.safetensors", "sheet.png"];
    expect(names.sort()).toEqual([...rest, ...sheets]);
    expect(readFileSync(join(unbrokenRun, "curve.svg"), "utf8")).toContain("epoch 4 of 4");
  });

  it("does not depend on how often it reports, on threads or on memory", async () => {
    for (const changes of [
      { reportEverySteps: 1, workers: 2 },
      { reportEverySteps: 100, checkpointSteps: 100, cacheBytes: 0 },
    ]) {
      const out = newRun();
      await complete(options(out, changes));
      expect(await outcome(out)).toEqual(unbroken);
    }
  });

  it("writes its state after so many minutes, whatever the steps", async () => {
    for (const [checkpointMinutes, step] of [
      [0, 3],
      [1, 0],
    ] as const) {
      const out = newRun();
      const given = options(out, { checkpointMinutes, checkpointSteps: undefined, reportEverySteps: 1 });
      {
        await using trainer = await create(given);
        await follow(trainer, (event) => event.kind === "step" && event.step === 4);
      }
      await using again = await create({ ...given, resume: true });
      expect(again.report.resumed).toEqual({ epoch: 0, step });
    }
  });

  it("begins with another model's weights where told, and with its statistics", async () => {
    const out = newRun();
    const { config: _, ...given } = options(out, { init: unbrokenRun, epochs: 1, lr: 1e-12 });
    await using trainer = await create(given);
    expect(trainer.report.config).toEqual((await findModel(unbrokenRun)).config);
    expect(trainer.report.recipe.init).toBe(unbrokenRun);
    const start = await readTensors(join(out, "last.safetensors"));
    for (const [key, values] of unbroken.best) expect(start.get(key)).toEqual(values);
  });

  it("takes given statistics, another size, and grey models", async () => {
    const given = options(newRun(), { mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6], imageSize: 32 });
    await using trainer = await create(given);
    expect(trainer.report.config).toMatchObject({ mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6], image_size: 32 });
    expect(trainer.report).toMatchObject({ images: 14, unreadable: 0, validation: 7, steps: 7, resumed: undefined });
    const grey = newRun();
    await complete(options(grey, { config: { ...CONFIG, in_channels: 1 }, epochs: 1 }));
    expect((await findModel(grey)).config.mean).toHaveLength(1);
  });

  it("leaves out what cannot be read, and says so", async () => {
    const [data, val] = [await writeImages("mixed", 9), await writeImages("mixed judges", 4)];
    writeFileSync(join(data, "mixed-3.png"), "no image");
    writeFileSync(join(val, "mixed judges-0.png"), "no image");
    const notes: string[] = [];
    const given = options(newRun(), {
      data: [data],
      val: [val],
      epochs: 2,
      crops: 1,
      cacheBytes: 0,
      onNote: (text) => notes.push(text),
    });
    const trainer = await create(given);
    expect(trainer.report).toMatchObject({ images: 8, unreadable: 1, validation: 3, steps: 2 });
    expect(notes.filter((text) => text.startsWith("left out"))).toEqual([
      expect.stringContaining("mixed judges-0.png"),
      expect.stringContaining("mixed-3.png"),
    ]);
    // One that goes while it runs is told of among the events.
    rmSync(join(data, "mixed-5.png"));
    const events = await follow(trainer);
    await trainer.dispose();
    const told = events.filter((event) => event.kind === "note");
    expect(told).toEqual([{ kind: "note", text: expect.stringContaining("left out") }]);
    expect(readLog(given.out)).toHaveLength(2);
  });
});

describe("refusals", () => {
  const refused = async (given: TrainerOptions, message: RegExp, code = "ARGUMENT") => {
    const error = await create(given).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(StylizingError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
  };

  it("a run is not begun over another", async () => {
    await refused(options(unbrokenRun), /holds a run already \(4 of 4 epochs done\).*--resume/);
    expect(await outcome(unbrokenRun)).toEqual(unbroken);
  });

  it("nor over a model or another program's configuration, resumed or not", async () => {
    const out = newRun();
    mkdirSync(out);
    writeFileSync(join(out, "model.safetensors"), "a model");
    await refused(options(out), /model\.safetensors is there already/);
    await refused(options(out, { resume: true }), /model\.safetensors is there already/);
    expect(readdirSync(out)).toEqual(["model.safetensors"]);
    rmSync(join(out, "model.safetensors"));
    writeFileSync(join(out, "config.json"), "{}");
    await refused(options(out), /config\.json is there already/);
  });

  it("--resume begins a run where there is none, and says so", async () => {
    const notes: string[] = [];
    await using trainer = await create(options(newRun(), { resume: true, onNote: (text) => notes.push(text) }));
    expect(notes[0]).toMatch(/there is no run to resume in .*: beginning one/);
    expect(trainer.report.resumed).toBeUndefined();
  });

  it.each<[string, Partial<TrainerOptions>, RegExp]>([
    ["number of epochs behind it", { epochs: 3 }, /--epochs is 3, and the run in .* is in epoch 4 already/],
    ["batch", { batch: 2 }, /--batch is 2/],
    ["learning rate", { lr: 0.1 }, /--lr is 0\.1/],
    ["weight decay", { weightDecay: 0 }, /--weight-decay is 0, and .* 0\.01/],
    ["clip", { clip: 2 }, /--clip is 2/],
    ["seed", { seed: 4 }, /--seed is 4/],
    ["weights of losses", { lossWeights: { ...LOSS_WEIGHTS, style: 1 } }, /--loss-weights is .*"style":1/],
    ["VGG", { vgg: "random:2" }, /--vgg is "random:2", and .* "random:1"/],
    ["crops", { crops: 3 }, /--crops is 3/],
    ["kind of crop", { crop: "whole" }, /--crop is "whole"/],
    ["flips", { flips: false }, /--flips is false/],
    ["first model", { init: "demo" }, /--init is "demo"/],
    ["shape", { config: { ...CONFIG, depth: 2 } }, /The model's depth is 2, and the run in .* was begun with 1/],
    ["size", { imageSize: 32 }, /The model's image_size is 32/],
    ["mean", { mean: [0, 0, 0] }, /The model's mean is \[0,0,0\]/],
  ])("another %s is refused on resuming", async (_, changes, message) => {
    await refused(options(unbrokenRun, { ...changes, resume: true }), message);
  });

  it("other images are refused on resuming", async () => {
    const data = await writeImages("others", 5);
    await refused(
      options(unbrokenRun, { data: [data], resume: true }),
      /training images \(--data\) have other names.* 14, and there are 5/,
    );
    await refused(options(unbrokenRun, { val: [data], resume: true }), /validation images \(--val\) have other names/);
  });

  it.each<[string, Partial<TrainerOptions>, RegExp]>([
    ["a batch of one", { batch: 1 }, /batch is 1.*from 2 on/],
    ["half an epoch", { epochs: 1.5 }, /epochs is 1\.5/],
    ["no learning", { lr: 0 }, /lr is 0/],
    [
      "weights of nothing",
      { lossWeights: { identity: 0, consistency: 0, anatomical: 0, style: 0 } },
      /lossWeights are 0, 0, 0, 0/,
    ],
    ["a negative weight", { lossWeights: { ...LOSS_WEIGHTS, style: -1 } }, /lossWeights are/],
    ["a part larger than the whole", { microBatch: 5 }, /microBatch is 5, more than the batch of 4/],
    ["an odd crop", { crop: "middle" as "whole" }, /crop is "middle"/],
    ["a batch that images do not fill", { batch: 64 }, /14 images × 2 crops does not fill a batch of 64.*--crops/],
    ["no images", { data: [join(root, "nowhere")] }, /nowhere do not exist/],
    ["no folders", { val: [] }, /no validation images: no folder of them is given/],
    ["a preset and a configuration", { preset: "tiny" }, /Both a preset and a configuration/],
    ["another size than a model's", { config: undefined, init: "demo", imageSize: 64 }, /demo takes images of 96 pixels/],
    ["a precision that is none", { precision: "fp16" as "f16" }, /Unknown precision "fp16".*f16/],
    ["an adapter that is none", { adapter: "cuda" as "auto" }, /Unknown adapter "cuda"/],
    ["tuning that is none", { tune: "on" as "auto" }, /Unknown tuning "on"/],
    ["a preset that is none", { preset: "huge" }, /Unknown preset "huge"/],
    ["half a thread", { workers: 0.5 }, /workers is 0\.5/],
  ])("%s", async (_, changes, message) => {
    const out = newRun();
    await refused(options(out, changes), message);
    if (existsSync(out)) expect(readdirSync(out)).toEqual([]);
  });

  it("names that are none are refused on resuming, beside a first model, and before images are looked for", async () => {
    await refused(options(unbrokenRun, { resume: true, init: "demo", config: undefined, preset: "tny" }), /Unknown preset "tny"/);
    await refused(options(newRun(), { precision: "f64" as "f32", data: [join(root, "nowhere")] }), /Unknown precision "f64"/);
    const saved = process.env.STYLIZING_VIT_ADAPTER;
    process.env.STYLIZING_VIT_ADAPTER = "gpu";
    try {
      await refused(options(newRun(), { data: [join(root, "nowhere")] }), /Unknown adapter "gpu"/);
    } finally {
      if (saved === undefined) delete process.env.STYLIZING_VIT_ADAPTER;
      else process.env.STYLIZING_VIT_ADAPTER = saved;
    }
  });

  it("images of which none can be read", async () => {
    const data = join(root, "none");
    mkdirSync(data);
    for (const name of ["a.png", "b.png"]) writeFileSync(join(data, name), "no image");
    await refused(options(newRun(), { data: [data], batch: 2 }), /None of 2 training images can be read/, "IMAGE");
  });

  it("a state of another program, or a damaged one", async () => {
    const out = newRun();
    mkdirSync(out);
    writeFileSync(join(out, "last.safetensors"), readFileSync(join(unbrokenRun, "model.safetensors")));
    await refused(options(out, { resume: true }), /was not written by a training/, "CHECKPOINT");
    writeFileSync(join(out, "last.safetensors"), readFileSync(join(unbrokenRun, "last.safetensors")).subarray(0, 50_000));
    await refused(options(out, { resume: true }), /last\.safetensors/, "CHECKPOINT");
  });
});

describe("what goes wrong on the device", () => {
  it("a loss that is no number ends the run; the state before it stays, and the best model", async () => {
    for (const breakAt of [12, 14]) {
      const out = newRun();
      const trainer = await create(options(out, { checkpointSteps: 3, reportEverySteps: 100 }), { breakAt });
      await expect(follow(trainer)).rejects.toMatchObject({
        code: "TRAINING",
        message: expect.stringMatching(new RegExp(`step ${breakAt} \\(in epoch 2\\) is not a finite.*lower --lr.*--init`)),
      });
      await trainer.dispose();
      expect(timeless(readLog(out))).toEqual(unbroken.log.slice(0, 1));
      await readTensors(join(out, "model.safetensors"));
      // The state is one of before: the run ends as it should on a device that does not break.
      await complete(options(out, { resume: true }));
      expect(await outcome(out)).toEqual(unbroken);
    }
  });

  it("validation losses that are no numbers end it too", async () => {
    const out = newRun();
    await using trainer = await create(options(out), { poison: true });
    await expect(follow(trainer)).rejects.toMatchObject({ code: "TRAINING", message: expect.stringContaining("validation") });
    expect(existsSync(join(out, "model.safetensors"))).toBe(false);
    expect(readLog(out)).toEqual([]);
  });

  const loss = new StylizingError("DEVICE_LOST", "The fake device was lost.", "Nothing.");
  it.each([
    ["its first step", 0],
    ["a step in the middle", 17],
    ["its last step", 27],
  ])("a device that is lost in %s is opened again, and the run ends as the unbroken one", async (_, at) => {
    const out = newRun();
    const faults: Faults = { loseAt: [at], loss };
    const events = await complete(options(out), faults);
    expect(faults.opened).toBe(2);
    expect(events).toContainEqual({
      kind: "note",
      text: expect.stringMatching(/device was lost .*going on from epoch \d, step \d/),
    });
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("and where the device says so only afterwards", async () => {
    const out = newRun();
    const failed = new StylizingError("GPU", "A buffer could not be read.", "Nothing.");
    await complete(options(out), { loseAt: [9], loss: failed });
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("a second loss is an error, and the run can be resumed", async () => {
    const out = newRun();
    const faults: Faults = { loseAt: [9, 13], loss };
    const trainer = await create(options(out), faults);
    await expect(follow(trainer)).rejects.toMatchObject({
      code: "DEVICE_LOST",
      message: expect.stringMatching(/second time.*--resume/),
    });
    await trainer.dispose();
    expect(faults.opened).toBe(2);
    await complete(options(out, { resume: true }));
    expect(await outcome(out)).toEqual(unbroken);
  });

  it("other errors are not taken for a loss", async () => {
    const faults: Faults = { loseAt: [5], loss: new TypeError("a mistake") };
    await using trainer = await create(options(newRun()), faults);
    await expect(follow(trainer)).rejects.toThrow("a mistake");
    expect(faults.opened).toBe(1);
  });
});

describe("a trainer", () => {
  it("is used once at a time and not after dispose()", async () => {
    const trainer = await create(options(newRun()));
    const run = trainer.run();
    await run.next();
    await expect(trainer.run().next()).rejects.toMatchObject({ code: "ARGUMENT" });
    await run.return();
    await trainer.dispose();
    await trainer.dispose();
    await expect(trainer.run().next()).rejects.toMatchObject({ code: "DISPOSED" });
  });

  it("stops reading images when told", async () => {
    const stop = new AbortController();
    const given = options(newRun(), { signal: stop.signal, onProgress: () => stop.abort(new Error("not now")) });
    await expect(create({ ...given, data: [await writeImages("many", 130, 6)] })).rejects.toThrow("not now");
  });
});

it("evaluationBatches cover all images with two or more at a time", () => {
  for (let count = 2; count < 40; count++) {
    for (let batch = 2; batch < 12; batch++) {
      const batches = evaluationBatches(count, batch);
      let next = 0;
      for (const part of batches) {
        expect(part.from).toBe(next);
        expect(part.count).toBeGreaterThanOrEqual(2);
        expect(part.count).toBeLessThanOrEqual(batch);
        next += part.count;
      }
      expect(next).toBe(batch === 2 ? count - (count % 2) : count);
    }
  }
});
