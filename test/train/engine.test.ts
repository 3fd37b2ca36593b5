import { describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { makeProfile } from "../../src/gpu/profile.js";
import { modelParameters, parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { openVgg } from "../../src/models/vgg/weights.js";
import { createTrainingEngine, type TrainingEngineOptions } from "../../src/train/engine.js";
import type { TrainingState } from "../../src/train/types.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { config, losesItsDevice, openEngine, smoothImages } from "./engine.js";
import { openTask, terms } from "./thin.js";

const gpu = gpuOfThisFile();

const open = (options: Partial<TrainingEngineOptions> = {}, on: Gpu = gpu()) => openEngine(on, options);

const numbers = ({ parameters, firstMoments, secondMoments }: TrainingState) =>
  [parameters, firstMoments, secondMoments].map((tensors) => Object.fromEntries(tensors));

describe("the training engine", () => {
  it("does the same in parts of a batch, with layers recomputed, and bit-exact where nothing is different", async () => {
    const images = smoothImages(3);
    const states: TrainingState[] = [];
    for (const options of [{}, {}, { microBatch: 1 }, { microBatch: 2, recompute: true }]) {
      await using engine = await open(options);
      expect(engine.microBatch).toBe(options.microBatch ?? 3);
      await engine.step(images, 1e-3);
      const { losses, mean, gradientNorm, step, brokenAt } = await engine.report();
      expect([step, mean.steps, brokenAt]).toEqual([1, 1, undefined]);
      expect(mean.losses).toEqual(losses);
      expect(gradientNorm).toBeGreaterThan(1);
      states.push(await engine.readState());
    }
    const [first, again, ...parts] = states;
    expect(numbers(again!)).toEqual(numbers(first!));
    for (const part of parts) {
      // Sums in another order: gradients differ in their last digits, and with them the moments.
      for (const [key, moments] of part.firstMoments) {
        const expected = first!.firstMoments.get(key)!;
        const scale = Math.max(...expected.map(Math.abs));
        const error = Math.max(...moments.map((m, i) => Math.abs(m - expected[i]!)));
        if (!key.endsWith("k_proj.bias")) expect(error / scale, key).toBeLessThan(1e-3);
      }
    }
  });

  it("goes on from a state that was read as if it had never stopped, bit-exact", async () => {
    const batches = [smoothImages(2, "a"), smoothImages(2, "b")];
    await using engine = await open({ batch: 2 });
    await engine.step(batches[0]!, 1e-3);
    const saved = await engine.readState();
    expect(saved.step).toBe(1);
    await engine.step(batches[1]!, 5e-4);
    const unbroken = await engine.readState();
    const { losses } = await engine.report();

    await using other = await open({ batch: 2, initial: modelParameters(config).parameters.initial(2) });
    await other.writeState(saved);
    await other.step(batches[1]!, 5e-4);
    expect(numbers(await other.readState())).toEqual(numbers(unbroken));
    const report = await other.report();
    expect(report.losses).toEqual(losses);
    expect([report.step, report.mean.steps]).toEqual([2, 1]);
  });

  it("evaluates any number of images as its steps see them, and paints what the model paints", async () => {
    const images = smoothImages(3);
    await using engine = await open({ microBatch: 2 });
    const before = await engine.readState();
    const { losses, outputs } = await engine.evaluate(images);
    const { stylized, reconstruction } = outputs;
    expect(numbers(await engine.readState())).toEqual(numbers(before));
    await engine.step(images, 1e-3);
    const report = await engine.report();
    for (const { name } of terms) expect(Math.abs(report.losses[name]! / losses[name]! - 1), name).toBeLessThan(1e-5);

    const source = {
      label: "the engine's weights",
      shapes: parameterShapes(config),
      read: async (key: string) => before.parameters.get(key)!,
      [Symbol.asyncDispose]: async () => {},
    };
    const { Engine } = await import("../../src/painter/engine.js");
    const model = await Engine.create(gpu(), config, source);
    const styles = new Uint8Array(images.length);
    const each = images.length / 3;
    for (let i = 0; i < 3; i++) styles.set(images.subarray(((i + 1) % 3) * each, (((i + 1) % 3) + 1) * each), i * each);
    const job = { mode: "pair", images: 3, input: "bytes", output: "bytes", content: images, style: styles } as const;
    const painted = await model.run(job);
    model.dispose();
    expect(Math.max(...painted.map((value, i) => Math.abs(value - stylized![i]!)))).toBeLessThanOrEqual(1);
    // Not trained yet, but images nevertheless, and not those of the other kind.
    expect(reconstruction).not.toEqual(stylized);
    expect(new Set(reconstruction!).size).toBeGreaterThan(20);
  });

  it("leaves weights alone from the first broken step on, and says which it was", async () => {
    await using engine = await open({ batch: 1 });
    await engine.step(smoothImages(1), 1e-3);
    const sound = await engine.readState();
    sound.parameters.get("post_process_conv.weight")![0] = Number.NaN;
    await engine.writeState(sound);
    await engine.step(smoothImages(1), 1e-3);
    await engine.step(smoothImages(1), 1e-3);
    expect((await engine.report()).brokenAt).toBe(2);
    const after = await engine.readState();
    expect(after.firstMoments).toEqual(sound.firstMoments);
    expect(after.parameters.get("bottleneck.fc2.weight")).toEqual(sound.parameters.get("bottleneck.fc2.weight"));
  });

  it("refuses bytes that are no batch, images too small for VGG-19, and states of another model", async () => {
    await using engine = await open({ batch: 2 });
    await expect(engine.step(smoothImages(3), 1e-3)).rejects.toMatchObject({ code: "ARGUMENT" });
    await expect(engine.evaluate(new Uint8Array(100))).rejects.toMatchObject({ code: "ARGUMENT" });
    const state = await engine.readState();
    state.parameters.delete("encoder.cls_token");
    await expect(engine.writeState(state)).rejects.toMatchObject({ code: "CHECKPOINT" });
    const small = { ...config, image_size: 24 };
    const options = {
      batch: 1,
      initial: new Map(),
      terms,
      clip: 1,
      weightDecay: 0,
      recompute: false,
    };
    await expect(createTrainingEngine(gpu(), small, openTask(), options)).rejects.toMatchObject({ code: "CONFIG" });
    await expect(openVgg("random:", 3)).rejects.toMatchObject({ code: "ARGUMENT" });
    await expect(openVgg("/nowhere/vgg.safetensors", 3)).rejects.toMatchObject({ code: "CHECKPOINT" });
  });

  it("takes fewer images at a time where a device has no room for as many, and says so", async () => {
    const { device, facts, profile } = gpu();
    // Room for the weights of a thin VGG-19, and for the largest map of two images.
    const limits = { ...profile.limits, maxBufferSize: 3.2e6 };
    const narrow = new Gpu(device, facts, { ...makeProfile(facts, "f32"), limits }, false);
    const notes: string[] = [];
    const big = { ...config, image_size: 128 };
    const options = {
      batch: 16,
      initial: modelParameters(big).parameters.initial(1),
      terms,
      clip: 1,
      weightDecay: 0,
      recompute: true,
    };
    await using engine = await createTrainingEngine(narrow, big, openTask(), {
      ...options,
      onNote: (note) => notes.push(note),
    });
    expect(engine.microBatch).toBeLessThan(16);
    expect(notes.length).toBeGreaterThan(0);
    await expect(createTrainingEngine(narrow, big, openTask(), { ...options, microBatch: 16 })).rejects.toMatchObject({
      code: "GPU",
    });
    narrow.dispose();
  });

  // At the others it is in engine.slow.test.ts: each is another device, and compiles anew.
  it("says that its device is lost, at a report", () => losesItsDevice("a report"));

  it("gives back all of the device's memory", async () => {
    const before = gpu().allocatedBytes;
    {
      await using engine = await open({ batch: 1 });
      await engine.step(smoothImages(1), 1e-3);
      await engine.evaluate(smoothImages(2));
      expect(engine.bytes).toBeGreaterThan(before);
    }
    expect(gpu().allocatedBytes).toBe(before);
  });
});
