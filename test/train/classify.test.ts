import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { findModelOf } from "../../src/models/open.js";
import type { VitConfig } from "../../src/models/vit/config.js";
import { vit } from "../../src/models/vit/kind.js";
import { resizePositions } from "../../src/models/vit/positions.js";
import { learningRateOf } from "../../src/train/epoch.js";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.js";
import { SLOW } from "../support/slow.js";
import { CLASSES, follow, newRun, outcome, readLog, readTensors, writeClasses } from "./runs.js";

const SHAPE: VitConfig = {
  ...{ kind: "vit", image_size: 16, in_channels: 3, patch_size: 8, embed_dim: 24, depth: 2, num_heads: 2, mlp_ratio: 2 },
  ...{ qkv_bias: true, num_classes: 9 },
};

let data: string;
let val: string;
const options = (out: string, changes: Partial<TrainerOptions> = {}): TrainerOptions => ({
  ...{ task: "classify", data: [data], val: [val], out, config: SHAPE, epochs: 3, batch: 4, lr: 3e-3, warmup: 2 },
  ...{ seed: 5, workers: 0, adapter: "software", tune: "off", checkpointSteps: 2, dropPath: 0.2, labelSmoothing: 0.1 },
  classWeights: "balanced",
  ...changes,
});

async function complete(given: TrainerOptions) {
  await using trainer = await Trainer.create(given);
  return await follow(trainer);
}

let run: string;
beforeAll(async () => {
  data = await writeClasses("classes", [8, 6, 4]);
  val = await writeClasses("judged classes", [3, 3, 3]);
  run = newRun();
  await complete(options(run));
});

describe("a run that classifies", () => {
  it("learns, and logs metrics of every epoch", () => {
    const log = readLog(run);
    expect(log.map(({ epoch, step }) => [epoch, step])).toEqual([1, 2, 3].map((epoch) => [epoch, 4 * epoch]));
    for (const line of log) {
      expect(line.training).toEqual({ crossEntropy: line.training.total, total: line.training.total });
      for (const name of ["accuracy", "balancedAccuracy", "macroRecall", "kappa", "auc"] as const)
        expect(line[name], name).toBeLessThanOrEqual(1);
    }
    expect(log[2]!.training.total).toBeLessThan(log[0]!.training.total);
    expect(log[2]!.balancedAccuracy).toBeGreaterThan(0.6);
    const best = Math.max(...log.map((line) => line.balancedAccuracy!));
    expect(log.find((line) => line.balancedAccuracy === best)!.best).toBe(true);
  });

  it("leaves a classifier with its classes, a confusion matrix and a curve", async () => {
    const { config } = await findModelOf(vit, run);
    expect(config).toMatchObject({ ...SHAPE, num_classes: 3, classes: CLASSES, label_smoothing: 0.1 });
    // n / (K · n_c): 18 images, of which a class has 8, 6 and 4.
    expect(config.class_weights).toEqual([18 / 24, 18 / 18, 18 / 12]);
    expect(config.mean).toHaveLength(3);
    const names = readdirSync(run).sort();
    expect(names.filter((name) => !name.startsWith("sheet"))).toEqual(
      ["confusion.svg", "config.json", "curve.svg", "last.safetensors", "log.jsonl", "model.safetensors"].sort(),
    );
    expect(readFileSync(join(run, "confusion.svg"), "utf8")).toContain("9 images");
  });

  it("goes on bit-exactly where it was stopped, as the task that it is", async () => {
    const out = newRun();
    const controller = new AbortController();
    await using trainer = await Trainer.create(options(out));
    await expect(
      follow(
        trainer,
        (progress) => {
          if (progress.kind === "step" && progress.epoch === 2) controller.abort(new Error("enough"));
          return false;
        },
        controller.signal,
      ),
    ).rejects.toThrow("enough");
    await trainer.dispose();
    const { task: _, config: __, ...rest } = options(out, { resume: true });
    await complete(rest);
    expect(await outcome(out)).toEqual(await outcome(run));
    await expect(Trainer.create({ out, data: [data], val: [val], task: "stylize", resume: true })).rejects.toThrow(
      /one of the task classify/,
    );
    await expect(Trainer.create(options(out, { resume: true, classWeights: [1, 1, 1] }))).rejects.toThrow(/class_weights/);
  });

  if (SLOW)
    it("does not depend on the size of its parts, or on activation checkpointing", async () => {
      const out = newRun();
      await complete(options(out, { epochs: 1, microBatch: 3, recompute: true }));
      const [parts] = readLog(out);
      const same = newRun();
      await complete(options(same, { epochs: 1, microBatch: 2 }));
      expect(readLog(same)[0]!.training.total / parts!.training.total).toBeCloseTo(1, 5);
      expect(readLog(same)[0]!.validation.total / parts!.validation.total).toBeCloseTo(1, 5);
    });

  it("splits a table by patients, and reads paths relative to it", async () => {
    const out = newRun();
    const table = { data: [], val: [], labels: join(data, "labels.csv"), group: "patient", valPortion: 0.3 };
    await using trainer = await Trainer.create(options(out, { ...table, optimizer: "adamw", decay: "timm", best: "loss" }));
    const { images, validation, recipe, task } = trainer.report;
    expect(images + validation).toBe(18);
    expect(validation).toBeGreaterThan(2);
    expect(task).toBe("classify");
    expect(recipe).toMatchObject({ optimizer: "adamw", decay: "timm", best: "loss", schedule: "step", warmup: 2, minLr: 1e-6 });
  });
});

describe("a pre-trained backbone", () => {
  it("keeps its weights, resizes positions, and gets a head of its own for other classes", async () => {
    const out = newRun();
    const two = await writeClasses("two classes", [5, 5]);
    const { config: _, ...given } = options(out, { data: [two], val: [two], init: run, imageSize: 24, epochs: 1, lr: 1e-12 });
    await using trainer = await Trainer.create({ ...given, classWeights: undefined, dropPath: 0 });
    const config = trainer.report.config as VitConfig;
    expect(config).toMatchObject({ image_size: 24, num_classes: 2, classes: ["blue", "green"], embed_dim: 24 });
    expect(config.class_weights).toBeUndefined();
    const before = await readTensors(join(run, "model.safetensors"));
    const after = await readTensors(join(out, "last.safetensors"));
    for (const [key, values] of before) {
      if (key.startsWith("head.") || key === "pos_embed") continue;
      expect(after.get(key), key).toEqual(values);
    }
    expect(after.get("pos_embed")).toEqual(resizePositions(before.get("pos_embed")!, 24, 2, 3, 3));
    const head = after.get("head.weight")!;
    expect(head).toHaveLength(48);
    // PyTorch's default: uniform in ±1/√D.
    expect(Math.max(...head.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(24));
    expect(new Set(head).size).toBe(48);
  });

  it("keeps the head of the same classes, and refuses another shape", async () => {
    const { config: _, ...given } = options(newRun(), { init: run, epochs: 1 });
    await using trainer = await Trainer.create(given);
    const after = await readTensors(join(trainer.report.out, "last.safetensors"));
    expect(after.get("head.weight")).toEqual((await readTensors(join(run, "model.safetensors"))).get("head.weight"));
    const deeper = options(newRun(), { init: run, config: { ...SHAPE, depth: 3 } });
    await expect(Trainer.create(deeper)).rejects.toMatchObject({ code: expect.stringMatching(/CONFIG|CHECKPOINT/) });
  });
});

describe("what is refused", () => {
  const cases: [string, Partial<TrainerOptions>, RegExp][] = [
    ["options of the other task", { vgg: "random:1" }, /vgg is an option of the task stylize/],
    ["options of this one for painting", { task: "stylize", dropPath: 0.1 }, /is an option of the task classify/],
    ["an unknown task", { task: "segment" as "classify" }, /Unknown task "segment"/],
    ["no validation", { val: [] }, /no validation images/],
    ["both ways to validate", { valPortion: 0.2 }, /Both --val and --val-portion/],
    ["an impossible portion", { val: [], valPortion: 1 }, /valPortion is 1/],
    ["an unknown metric", { best: "f1" }, /Unknown best "f1"/],
    ["a group without a table", { group: "patient" }, /--group names a column/],
    ["weights for another number of classes", { classWeights: [1, 2] }, /class_weights/],
    ["smoothing of everything", { labelSmoothing: 1 }, /labelSmoothing is 1/],
    ["a size of no whole patches", { imageSize: 20 }, /multiple of the patch size/],
    ["an unknown preset", { config: undefined, preset: "tiny" }, /Unknown preset "tiny"/],
  ];
  it.each(cases)("%s", async (_, changes, message) => {
    const out = newRun();
    await expect(Trainer.create(options(out, changes))).rejects.toThrow(message);
  });

  it("a class that training does not have, by its name", async () => {
    const other = await writeClasses("no blue", [2, 2, 2]);
    const fewer = await writeClasses("only two", [3, 3]);
    await expect(Trainer.create(options(newRun(), { data: [fewer], val: [other] }))).rejects.toThrow(/the class red/);
  });
});

describe("the learning rate", () => {
  const recipe = { lr: 1e-4, epochs: 10, schedule: "step", warmup: 500, minLr: 1e-6 } as const;
  const at = (step: number, steps = 1000) =>
    learningRateOf(recipe, { epoch: Math.floor(step / steps), step: step % steps, steps });

  it("rises for the warm-up and falls along a cosine, every step", () => {
    expect(at(0)).toBeCloseTo(1e-8 + (1e-4 - 1e-8) / 500, 14);
    expect(at(499)).toBeCloseTo(1e-4, 14);
    expect(at(500)).toBeCloseTo(1e-4, 14);
    expect(at(5250)).toBeCloseTo(1e-6 + 0.5 * 0.99e-4, 12);
    expect(at(9999)).toBeLessThan(1.0001e-6);
    expect(at(9999)).toBeGreaterThan(1e-6);
  });

  it("warms up for a tenth of a short run at most", () => {
    expect(at(99, 100)).toBeCloseTo(1e-4, 14);
    expect(at(100, 100)).toBeCloseTo(1e-4, 14);
    expect(at(98, 100)).toBeLessThan(1e-4);
  });
});
