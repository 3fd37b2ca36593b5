import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openGpu } from "../../src/gpu/gpu.js";
import {
  type Classification,
  Classifier,
  type Image,
  type LoadProgress,
  StylizingError,
  type VitConfig,
} from "../../src/index.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { relativeError } from "../support/fixtures.js";
import { SLOW } from "../support/slow.js";

const SIZE = 32;
const EACH = SIZE * SIZE * 3;
const NAMES = ["benign", "in situ", "invasive", "stroma", "other"];
const CONFIG: VitConfig = parseVitConfig(
  {
    kind: "vit",
    ...{ image_size: SIZE, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2, num_classes: 5, classes: NAMES },
    ...{ mean: [0.6, 0.5, 0.4], std: [0.2, 0.25, 0.3] },
  },
  "test",
);
const options = { config: CONFIG, adapter: "software", precision: "f32", tune: "off" } as const;
const BOUND = 5e-5;

/** Waves, others for every seed. */
function image(seed: number, width = SIZE, height = width): Image {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    return Math.round(
      128 + 60 * Math.sin((x / width) * (3 + seed) + c) + 60 * Math.cos((y / height) * (2 + seed * 0.7) - c * seed),
    );
  });
  return { data, width, height, channels: 3 };
}
const images = Array.from({ length: 7 }, (_, i) => image(i));

/** An image as the bare model takes it. */
function planes({ data, width, height }: Image): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 3; c++) out[c * width * height + i] = (data[i * 3 + c]! / 255 - CONFIG.mean![c]!) / CONFIG.std![c]!;
  return out;
}

async function refusal(work: Promise<unknown>): Promise<StylizingError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(StylizingError);
  return error as StylizingError;
}

const logitsOf = (results: readonly Classification[]) => results.flatMap(({ logits }) => Array.from(logits));

let model: Classifier;
let expected: Classification[];
beforeAll(async () => {
  model = await Classifier.load("hashed:3", options);
  expected = await model.classify(images);
});
afterAll(() => model.dispose());

describe("what goes in", () => {
  it("one image gives one result, a list and a tensor give lists", async () => {
    const one = await model.classify(images[2]!);
    expect(Array.isArray(one)).toBe(false);
    expect(relativeError(one.logits, expected[2]!.logits)).toBeLessThan(1e-5);
    const index = one.logits.indexOf(one.logits.reduce((a, b) => Math.max(a, b)));
    expect(one).toMatchObject({ index, label: NAMES[index], probability: one.probabilities[index] });
    expect(one.probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
    expect(one.attention).toBeUndefined();

    const [listed, ...none] = await model.classify([images[2]!]);
    expect(none).toEqual([]);
    expect(listed).toEqual(one);
    const data = new Uint8Array(7 * EACH);
    for (const [i, { data: bytes }] of images.entries()) data.set(bytes, i * EACH);
    const results = await model.classify({ data, shape: [7, SIZE, SIZE, 3] });
    expect(results).toEqual(expected);
    expect(await model.classify([])).toEqual([]);
  });

  it("floats agree with bytes, and other sizes and channels are fitted", async () => {
    const floats = images.map((one) => ({ ...one, data: Float32Array.from(one.data, (value) => value / 255) }));
    expect(relativeError(logitsOf(await model.classify(floats)), logitsOf(expected))).toBeLessThan(BOUND);
    const grey = { data: new Uint8Array(50 * 30).fill(90), width: 50, height: 30, channels: 1 };
    const colour = { data: new Uint8Array(50 * 30 * 3).fill(90), width: 50, height: 30, channels: 3 };
    const [a, b] = await model.classify([grey, colour]);
    expect(a!.logits).toEqual(b!.logits);
    const tensor = await model.classify({ data: image(1, 64).data, shape: [1, 64, 64, 3] });
    expect(tensor).toHaveLength(1);
    expect(relativeError(tensor[0]!.logits, (await model.classify(image(1, 64))).logits)).toBeLessThan(1e-5);
  });

  it("buffers of the model's own device are taken", async () => {
    const gpu = await openGpu({ adapter: "software", precision: "f32" });
    const own = await Classifier.load("hashed:3", { ...options, device: gpu.device });
    const buffer = gpu.device.createBuffer({ size: 2 * EACH, usage: 8 | 4 });
    for (const [i, { data }] of images.slice(0, 2).entries())
      gpu.device.queue.writeBuffer(buffer, i * EACH, data as Uint8Array<ArrayBuffer>);
    const results = await own.classify({ buffer, shape: [2, SIZE, SIZE, 3], format: "bytes" });
    expect(relativeError(logitsOf(results), logitsOf(expected.slice(0, 2)))).toBeLessThan(1e-5);
    own.dispose();
    // The caller's device is the caller's.
    expect(gpu.isLost).toBe(false);
    gpu.dispose();
    gpu.device.destroy();
  });
});

it("the size of batches changes no result, and progress counts images", async () => {
  await using small = await Classifier.load("hashed:3", { ...options, batchSize: 3 });
  expect(small.batchSize).toBe(3);
  const seen: [number, number][] = [];
  const results = await small.classify(images, { onProgress: (done, total) => seen.push([done, total]) });
  expect(relativeError(logitsOf(results), logitsOf(expected))).toBeLessThan(1e-5);
  expect(results.map(({ label }) => label)).toEqual(expected.map(({ label }) => label));
  expect(seen).toEqual([[3, 7], [6, 7], [7, 7]]); // biome-ignore format: a list
});

it("what was given may be changed as soon as the call has returned, and lie in memory that threads share", async () => {
  const shared = (data: Image["data"]) => {
    const copy = new Uint8Array(new SharedArrayBuffer(data.length));
    copy.set(data);
    return copy;
  };
  const given = images.map((one) => ({ ...one, data: shared(one.data) }));
  const tensor = {
    data: Uint8Array.from(images.flatMap(({ data }) => [...data])),
    shape: [images.length, SIZE, SIZE, 3] as const,
  };
  const calls = [model.classify(given), model.classify(tensor)];
  for (const { data } of [...given, tensor]) data.fill(0);
  for (const call of calls) expect(logitsOf(await call)).toEqual(logitsOf(expected));
});

describe("attention", () => {
  it("has a map a head, whose shares sum to less than one, and is that of the bare model", async () => {
    const { data, shape } = await model.attention(images);
    expect(shape).toEqual([7, 3, 4, 4]);
    for (let map = 0; map < 21; map++) {
      const share = data.subarray(map * 16, (map + 1) * 16).reduce((a, b) => a + b);
      expect(share).toBeGreaterThan(0);
      expect(share).toBeLessThan(1);
    }
    const bare = await model.forward(planes(images[4]!), SIZE, SIZE);
    expect(relativeError(data.subarray(4 * 48, 5 * 48), bare.attention)).toBeLessThan(BOUND);
    expect(relativeError(expected[4]!.logits, bare.logits)).toBeLessThan(BOUND);
  });

  it("comes with the classes where it is asked for", async () => {
    const { data } = await model.attention(images);
    await using small = await Classifier.load("hashed:3", { ...options, batchSize: 2 });
    const results = await small.classify(images, { attention: true });
    expect(relativeError(logitsOf(results), logitsOf(expected))).toBeLessThan(1e-5);
    for (const [i, { attention }] of results.entries()) {
      expect(attention!.shape).toEqual([3, 4, 4]);
      expect(relativeError(attention!.data, data.subarray(i * 48, (i + 1) * 48))).toBeLessThan(1e-5);
    }
  });

  it("needs no head, but classes do", async () => {
    const { classes, ...rest } = CONFIG;
    await using backbone = await Classifier.load("hashed:3", { ...options, config: { ...rest, num_classes: 0 } });
    expect(backbone.classes).toEqual([]);
    expect(relativeError((await backbone.attention(images[0]!)).data, (await model.attention(images[0]!)).data)).toBeLessThan(
      BOUND,
    );
    const error = await refusal(backbone.classify(images[0]!));
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/no head.*train --task classify/) });
  });
});

it("another image size resizes positions, and is a multiple of the patches", async () => {
  await using large = await Classifier.load("hashed:3", { ...options, imageSize: 48 });
  expect(large.imageSize).toBe(48);
  const one = image(3, 48);
  const { logits, attention } = await large.classify(one, { attention: true });
  expect(attention!.shape).toEqual([3, 6, 6]);
  // The model at its own size takes planes of any.
  const bare = await model.forward(planes(one), 48, 48);
  expect(relativeError(logits, bare.logits)).toBeLessThan(BOUND);
  expect(relativeError(attention!.data, bare.attention)).toBeLessThan(BOUND);
  for (const imageSize of [50, 4, 0, -8, 32.5, Number.NaN]) {
    const error = await refusal(Classifier.load("hashed:3", { ...options, imageSize }));
    expect(error).toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/imageSize is .*multiple of this model's patches of 8/),
    });
  }
});

describe("bad arguments", () => {
  it("images for a model without statistics are refused, with the cure, and planes are not", async () => {
    const { mean, std, ...rest } = CONFIG;
    await using bare = await Classifier.load("hashed:3", { ...options, config: rest });
    for (const work of [() => bare.classify(images[0]!), () => bare.attention(images[0]!)])
      expect(await refusal(work())).toMatchObject({
        code: "CONFIG",
        fix: expect.stringMatching(/mean and std.*\.485,\.456,\.406/),
      });
    expect((await bare.forward(planes(images[0]!), SIZE, SIZE)).logits).toHaveLength(5);
    await using given = await Classifier.load("hashed:3", { ...options, config: rest, mean, std });
    expect(relativeError((await given.classify(images[0]!)).logits, expected[0]!.logits)).toBeLessThan(1e-5);
  });

  it.each<[string, () => Promise<unknown>, string, RegExp]>([
    ["planes that fill no image", () => model.forward(new Float32Array(5), SIZE, SIZE), "ARGUMENT", /5 numbers are no images of 3 × 32 × 32/],
    ["planes of broken patches", () => model.forward(new Float32Array(3 * 33 * 32), 33, 32), "ARGUMENT", /multiples of the patch size/],
    ["no image at all", () => model.classify(undefined as never), "ARGUMENT", /image is undefined/],
    ["data too short", () => model.classify({ ...images[0]!, data: new Uint8Array(5) }), "ARGUMENT", /has 5 values/],
    ["floats of another size", () => model.classify({ data: new Float32Array(12), width: 2, height: 2, channels: 3 }), "ARGUMENT", /2 × 2 in floats/],
    ["floats up to 255", () => model.classify([images[0]!, { ...images[1]!, data: Float32Array.from(images[1]!.data) }]), "ARGUMENT", /image 1 has the value \d+,.*Divide by 255/],
    ["attention to NaN", () => model.attention({ ...images[0]!, data: new Float32Array(EACH).fill(Number.NaN) }), "ARGUMENT", /image has the value NaN/],
    ["planes that are no numbers", () => model.forward(new Float32Array(EACH).fill(Number.NaN), SIZE, SIZE), "ARGUMENT", /pixels has the value NaN at position 0/],
    ["null in a list", () => model.classify([images[0]!, null as never]), "ARGUMENT", /image 1 is null/],
    ["a buffer that was destroyed", () => {
      const buffer = model.device.createBuffer({ size: EACH, usage: 4 });
      buffer.destroy();
      return model.classify({ buffer, shape: [1, SIZE, SIZE, 3], format: "bytes" });
    }, "ARGUMENT", /refused the submission "classify".*destroyed/],
    ["statistics of 0 to 255", () => Classifier.load("hashed:3", { ...options, mean: [153, 127.5, 102] }), "CONFIG", /divide by 255, 0\.6,0\.5,0\.4/],
    ["a batch size of zero", () => Classifier.load("hashed:3", { ...options, batchSize: 0 }), "ARGUMENT", /batchSize is 0/],
    ["workers below zero", () => Classifier.load("hashed:3", { ...options, workers: -1 }), "ARGUMENT", /workers is -1/],
    ["a precision that is none", () => Classifier.load("hashed:3", { ...options, precision: "fp16" as never }), "ARGUMENT", /fp16/],
    ["weights without a shape", () => Classifier.load("hashed:3"), "ARGUMENT", /deit-small/],
    ["a preset that is none", () => Classifier.load("hashed:3", { preset: "small" }), "ARGUMENT", /Unknown preset "small".*deit-tiny/],
    ["a name that is none", () => Classifier.load("deit-small"), "ARGUMENT", /no model's name/],
    ["statistics of other channels", () => Classifier.load("hashed:3", { ...options, mean: [0.5] }), "CONFIG", /mean is \[0\.5\]/],
  ])("%s", async (_, work, code, message) => {
    const error = await refusal(work());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.fix.length).toBeGreaterThan(5);
  }); // biome-ignore format: a table
});

describe("life and death", () => {
  it("loading reports its phases, in order, and can be aborted", async () => {
    const phases: string[] = [];
    const onProgress = ({ phase }: LoadProgress) => phases.push(phase);
    await using loaded = await Classifier.load("hashed:3", { ...options, onProgress });
    expect([...new Set(phases)]).toEqual(["upload", "compile", "ready"]);
    expect(loaded.memory().deviceBytes).toBeGreaterThan(48 * 48 * 12 * 2 * 4);
    expect(loaded.report).toMatchObject({ model: "hashed:3", tier: "f32", adapter: { software: true } });
    const controller = new AbortController();
    const abort = () => controller.abort(new Error("enough"));
    await expect(Classifier.load("hashed:3", { ...options, signal: controller.signal, onProgress: abort })).rejects.toThrow(
      "enough",
    );
  });

  it("work can be aborted between batches, and the model goes on", async () => {
    await using small = await Classifier.load("hashed:3", { ...options, batchSize: 1 });
    const controller = new AbortController();
    let done = 0;
    const onProgress = (count: number) => {
      done = count;
      controller.abort(new Error("stop"));
    };
    await expect(small.classify(images, { signal: controller.signal, onProgress })).rejects.toThrow("stop");
    expect(done).toBeGreaterThan(0);
    expect(done).toBeLessThan(7);
    // Nothing is reported behind the end of the call.
    const atEnd = done;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(done).toBe(atEnd);
    expect((await small.classify(images)).length).toBe(7);
  });

  it("dispose is idempotent, waits when it is asked to, and what follows is refused", async () => {
    const mortal = await Classifier.load("hashed:3", options);
    const underway = mortal.classify(images);
    await mortal[Symbol.asyncDispose]();
    expect(await underway).toHaveLength(7);
    mortal.dispose();
    for (const work of [
      () => mortal.classify(images),
      () => mortal.attention(images),
      () => mortal.forward(planes(images[0]!), SIZE, SIZE),
    ])
      expect((await refusal(work())).code).toBe("DISPOSED");
  });

  it("a device lost in the middle is replaced, once", async () => {
    const notes: string[] = [];
    await using fragile = await Classifier.load("hashed:3", { ...options, batchSize: 2, onNote: (text) => notes.push(text) });
    const lost = fragile.device;
    lost.destroy();
    expect(relativeError(logitsOf(await fragile.classify(images)), logitsOf(expected))).toBeLessThan(1e-5);
    expect(fragile.device).not.toBe(lost);
    expect(notes).toEqual([expect.stringMatching(/device was lost/)]);
    // Under work that is on its way, and with attention.
    const unhandled: unknown[] = [];
    const listen = (error: unknown) => unhandled.push(error);
    process.on("unhandledRejection", listen);
    const device = fragile.device;
    const again = await fragile.classify(images, { attention: true, onProgress: (done) => done === 2 && device.destroy() });
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
    expect(relativeError(logitsOf(again), logitsOf(expected))).toBeLessThan(1e-5);
    expect(notes).toHaveLength(2);
  });

  if (SLOW)
    it("a device lost again on the second try is a clear failure, and a caller's is not replaced", async () => {
      await using fragile = await Classifier.load("hashed:3", { ...options, batchSize: 1 });
      const doomed = fragile.classify(images, { onProgress: (done) => done === 1 && fragile.device.destroy() });
      expect(await refusal(doomed)).toMatchObject({ code: "DEVICE_LOST", message: expect.stringMatching(/lost twice in a row/) });
      expect(await fragile.classify(images)).toHaveLength(7);
      const gpu = await openGpu({ adapter: "software", precision: "f32" });
      await using guest = await Classifier.load("hashed:3", { ...options, device: gpu.device });
      gpu.device.destroy();
      expect((await refusal(guest.classify(images))).code).toBe("DEVICE_LOST");
    });

  it("calls that overlap do not mix", async () => {
    const [a, b, c] = await Promise.all([
      model.classify(images.slice(0, 3)),
      model.attention(images[3]!),
      model.classify(images.slice(4)),
    ]);
    expect(relativeError(logitsOf([...a, expected[3]!, ...c]), logitsOf(expected))).toBeLessThan(1e-5);
    expect(b.shape).toEqual([1, 3, 4, 4]);
  });
});
