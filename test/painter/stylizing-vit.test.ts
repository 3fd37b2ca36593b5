import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { openGpu } from "../../src/gpu/gpu.js";
import { loadSquare } from "../../src/image/preprocess.js";
import {
  type Image,
  type LoadOptions,
  type LoadProgress,
  measureStatistics,
  paintTissue,
  StylizingViT,
} from "../../src/index.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { shared } from "../support/fixtures.js";

const SIZE = 32;
const each = SIZE * SIZE * 3;
const tile = (seed: number, hospital = seed % 5): Image => paintTissue({ size: SIZE, seed, hospital });
const options = { adapter: "software", precision: "f32" } as const;

/** A model that paints at once: what is held here is all that is around it. */
const shape = { image_size: SIZE, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2 };
const config = parseConfig({ ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }, "micro");
const load = (more: LoadOptions = {}) => StylizingViT.load("hashed:3", { ...options, config, ...more });

let model: StylizingViT;
beforeAll(async () => {
  model = await load();
});
afterAll(() => model.dispose());

async function refusal(work: Promise<unknown>): Promise<StylizingError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(StylizingError);
  return error as StylizingError;
}

const bytes = (image: Image) => Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength);

describe("the reference's images", () => {
  const folder = join(shared, "golden/demo");
  it.skipIf(!existsSync(folder))("are met within one level", async () => {
    await using demo = await StylizingViT.load("demo", options);
    const read = (name: string) => loadSquare(join(folder, name), 96, 3);
    const count = readdirSync(folder).filter((name) => name.startsWith("content")).length;
    expect(count).toBe(3);
    for (let i = 0; i < count; i++) {
      const painted = await demo.stylize(await read(`content${i}.png`), await read(`style${i}.png`));
      const expected = await read(`expected${i}.png`);
      let worst = 0;
      for (let at = 0; at < expected.data.length; at++) worst = Math.max(worst, Math.abs(painted.data[at]! - expected.data[at]!));
      expect(worst).toBeLessThanOrEqual(1);
    }
  });
});

describe("what goes in comes out in the same guise", () => {
  it("one for one, a list for a list, a tensor for a tensor, floats for floats", async () => {
    const [c, s] = [tile(1), tile(2)];
    const one = await model.stylize(c, s);
    expect(one).toMatchObject({ width: SIZE, height: SIZE, channels: 3 });
    expect(one.data).toBeInstanceOf(Uint8Array);
    const [listed] = await model.stylize([c], [s]);
    expect(bytes(listed!).equals(bytes(one))).toBe(true);
    const tensor = await model.stylize({ data: c.data, shape: [1, SIZE, SIZE, 3] }, s);
    expect(tensor.shape).toEqual([1, SIZE, SIZE, 3]);
    expect(Buffer.from(tensor.data).equals(bytes(one))).toBe(true);
    const floats = { ...c, data: Float32Array.from(c.data, (v) => v / 255) };
    const painted = await model.stylize(floats, s);
    expect(painted.data).toBeInstanceOf(Float32Array);
    let worst = 0;
    for (let i = 0; i < each; i++) worst = Math.max(worst, Math.abs(painted.data[i]! * 255 - one.data[i]!));
    expect(worst).toBeLessThanOrEqual(0.51);
  });

  it("other sizes and channels are fitted: grey, RGBA over white, not square", async () => {
    const grey = { data: new Uint8Array(50 * 30).fill(128), width: 50, height: 30, channels: 1 };
    const clear = { data: new Uint8Array(20 * 20 * 4), width: 20, height: 20, channels: 4 };
    const white = { data: new Uint8Array(20 * 20 * 3).fill(255), width: 20, height: 20, channels: 3 };
    const [painted] = await model.stylize([grey], [tile(1)]);
    expect(painted).toMatchObject({ width: SIZE, height: SIZE, channels: 3 });
    const [a, b] = await model.stylize([clear, white], [tile(1), tile(1)]);
    expect(bytes(a!).equals(bytes(b!))).toBe(true);
  });

  it("GPU buffers stay on the device", async () => {
    const gpu = await openGpu(options);
    const own = await StylizingViT.load("hashed:3", { config, device: gpu.device, precision: "f32" });
    const upload = (image: Image) => {
      const buffer = gpu.device.createBuffer({ size: each, usage: 8 | 4 });
      gpu.device.queue.writeBuffer(buffer, 0, image.data as Uint8Array<ArrayBuffer>);
      return { buffer, shape: [1, SIZE, SIZE, 3], format: "bytes" } as const;
    };
    const result = await own.stylize(upload(tile(1)), upload(tile(2)));
    const read = gpu.device.createBuffer({ size: each, usage: 1 | 8 });
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(result.buffer, 0, read, 0, each);
    gpu.device.queue.submit([encoder.finish()]);
    await read.mapAsync(1);
    const expected = await model.stylize(tile(1), tile(2));
    expect(Buffer.from(read.getMappedRange()).equals(bytes(expected))).toBe(true);
    own.dispose();
    // The caller's device is the caller's: it still works.
    expect(gpu.isLost).toBe(false);
    gpu.device.createBuffer({ size: 16, usage: 8 }).destroy();
    await gpu.device.queue.onSubmittedWorkDone();
    gpu.dispose();
    gpu.device.destroy();
  });
});

describe("batches, banks and streams give the pairs' results", () => {
  const contents = Array.from({ length: 7 }, (_, i) => tile(10 + i));
  const styles = Array.from({ length: 7 }, (_, i) => tile(30 + i));
  let expected: Image[];
  beforeAll(async () => {
    expected = [];
    for (const [i, content] of contents.entries()) expected.push(await model.stylize(content, styles[i]!));
  });
  const same = (actual: readonly Image[], wanted: readonly Image[]) => {
    expect(actual.length).toBe(wanted.length);
    // A value that lies between two levels may fall either way.
    const worst = actual.map((image, i) => Math.max(...Array.from(image.data, (v, at) => Math.abs(v - wanted[i]!.data[at]!))));
    expect(Math.max(...worst)).toBeLessThanOrEqual(1);
    const different = actual.map((image, i) => Array.from(image.data).filter((v, at) => v !== wanted[i]!.data[at]!).length);
    expect(Math.max(...different)).toBeLessThanOrEqual(2);
  };

  it("seven pairs in batches of the device's choosing, and of 3", async () => {
    const seen: number[] = [];
    same(await model.stylize(contents, styles, { onProgress: (done) => seen.push(done) }), expected);
    expect(seen.at(-1)).toBe(7);
    await using small = await load({ batchSize: 3 });
    same(await small.stylize(contents, styles), expected);
  });

  it("a bank, chosen from and all at once", async () => {
    using bank = await model.styleBank(styles);
    expect(bank.size).toBe(7);
    same(await model.stylize(contents, bank), expected);
    same(await model.stylize([contents[4]!, contents[0]!], bank, { styles: [4, 0] }), [expected[4]!, expected[0]!]);
    const many = await model.stylize([contents[2]!], bank);
    same([many[2]!], [expected[2]!]);
  });

  it("one style for all contents, all styles for one content", async () => {
    same([(await model.stylize(contents, styles[3]!))[3]!], [expected[3]!]);
    same([(await model.stylize(contents[5]!, styles))[5]!], [expected[5]!]);
  });

  it("a stream: in order, with what the pairs carry, pulling no faster than it is pulled from", async () => {
    let pulled = 0;
    async function* pairs() {
      for (let i = 0; i < 7; i++) {
        pulled++;
        yield { content: contents[i]!, style: styles[i]!, label: `pair ${i}` };
      }
    }
    const images: Image[] = [];
    const labels: string[] = [];
    const ahead: number[] = [];
    for await (const batch of model.stream(pairs(), { batchSize: 2 })) {
      expect(batch.first).toBe(images.length);
      images.push(...batch.images);
      labels.push(...batch.pairs.map((pair) => pair.label));
      ahead.push(pulled - images.length);
    }
    same(images, expected);
    expect(labels).toEqual(Array.from({ length: 7 }, (_, i) => `pair ${i}`));
    expect(Math.max(...ahead)).toBeLessThanOrEqual(4);
  });

  it("calls that overlap do not mix", async () => {
    using bank = await model.styleBank(styles.slice(0, 3));
    const results = await Promise.all([
      model.stylize(contents[0]!, styles[0]!),
      model.stylize([contents[1]!], bank, { styles: [1] }),
      model.stylize(contents.slice(2, 5), styles.slice(2, 5)),
      model.stylize(contents[6]!, styles[6]!),
      model.stylize([contents[2]!, contents[0]!], bank, { styles: [2, 0] }),
    ]);
    const [a, b, c, d, e] = results;
    same(
      [a, b[0]!, ...c, d, ...e],
      [expected[0]!, expected[1]!, ...expected.slice(2, 5), expected[6]!, expected[2]!, expected[0]!],
    );
  });
});

describe("bad arguments", () => {
  it.each<[string, () => Promise<unknown>, string, RegExp]>([
    ["no contents", () => model.stylize([], [tile(1)]), "ARGUMENT", /0 contents and 1 styles/],
    ["no styles", () => model.stylize([tile(1)], []), "ARGUMENT", /1 contents and 0 styles/],
    ["counts that do not pair", () => model.stylize([tile(1), tile(2)], [tile(1), tile(2), tile(3)]), "ARGUMENT", /2 contents cannot be paired with 3 styles/],
    ["data too short", () => model.stylize({ ...tile(1), data: new Uint8Array(5) }, tile(1)), "ARGUMENT", /content says 32 × 32 × 3 and has 5 values/],
    ["data of the wrong type", () => model.stylize({ ...tile(1), data: [1, 2] as never }, tile(1)), "ARGUMENT", /data of type Array/],
    ["no image at all", () => model.stylize(undefined as never, tile(1)), "ARGUMENT", /content is undefined/],
    ["floats of another size", () => model.stylize({ data: new Float32Array(12), width: 2, height: 2, channels: 3 }, tile(1)), "ARGUMENT", /2 × 2 in floats/],
    ["planes that fill no image", () => model.forward(new Float32Array(5), new Float32Array(5)), "ARGUMENT", /content has 5 values/],
    ["an empty bank", () => model.styleBank([]), "ARGUMENT", /at least one style/],
    ["a batch size of zero", () => load({ batchSize: 0 }), "ARGUMENT", /batchSize is 0/],
    ["a format that is none", () => model.stylize({ buffer: {} as GPUBuffer, shape: [1, SIZE, SIZE, 3], format: "float" as "floats" }, tile(1)), "ARGUMENT", /Unknown format of content "float".*bytes or floats/],
    ["a preset that is none, beside a configuration", () => StylizingViT.load("hashed:1", { ...options, config: model.config, preset: "tny" }), "ARGUMENT", /Unknown preset "tny"/],
    ["an unknown model", () => StylizingViT.load("bse/camelyon17wilds", options), "ARGUMENT", /base\/camelyon17wilds/],
    ["images for a model without statistics", async () => {
      await using bare = await StylizingViT.load("hashed:1", { ...options, config: { ...model.config, depth: 1, mean: undefined, std: undefined } as never });
      await bare.stylize(tile(1), tile(2));
    }, "CONFIG", /No mean and standard deviation.*hashed:1/],
  ])("%s", async (_what, work, code, message) => {
    const error = await refusal(work());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.fix.length).toBeGreaterThan(5);
  }); // biome-ignore format: a table

  it("names that are none are refused before anything is fetched", async () => {
    const fetch = () => {
      throw new Error("fetched");
    };
    const load = (given: object) => refusal(StylizingViT.load("base/camelyon17wilds", { fetch, refresh: true, ...given }));
    for (const given of [{ precision: "fp16" }, { precision: "f64" }, { adapter: "cuda" }, { tune: "on" }])
      expect(await load(given)).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining(Object.values(given)[0]!) });
    const saved = process.env.STYLIZING_VIT_ADAPTER;
    process.env.STYLIZING_VIT_ADAPTER = "cuda";
    try {
      expect((await load({})).message).toMatch(/Unknown adapter "cuda"/);
    } finally {
      if (saved === undefined) delete process.env.STYLIZING_VIT_ADAPTER;
      else process.env.STYLIZING_VIT_ADAPTER = saved;
    }
  });

  it("a style that is not in the bank, and a bank of another model", async () => {
    using bank = await model.styleBank([tile(1)]);
    expect((await refusal(model.stylize([tile(2)], bank, { styles: [1] }))).message).toMatch(/no style 1 in a bank of 1/);
    await using other = await load();
    expect((await refusal(other.stylize([tile(2)], bank))).message).toMatch(/another model/);
    bank.dispose();
    expect((await refusal(model.stylize([tile(2)], bank))).code).toBe("DISPOSED");
  });
});

describe("life and death", () => {
  it("loading reports its phases, in order, and can be aborted", async () => {
    const phases: string[] = [];
    await using loaded = await StylizingViT.load("demo", {
      ...options,
      onProgress: ({ phase }: LoadProgress) => phases.push(phase),
    });
    expect([...new Set(phases)]).toEqual(["upload", "compile", "ready"]);
    expect(loaded.memory().deviceBytes).toBeGreaterThan(666_369 * 4);
    const controller = new AbortController();
    const aborted = StylizingViT.load("demo", {
      ...options,
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    await expect(aborted).rejects.toThrow("enough");
  });

  it("work can be aborted between batches, and the model goes on", async () => {
    await using small = await load({ batchSize: 1 });
    const controller = new AbortController();
    let done = 0;
    const many = Array.from({ length: 12 }, (_, i) => tile(i));
    const work = small.stylize(many, many, {
      signal: controller.signal,
      onProgress: (count) => {
        done = count;
        controller.abort(new Error("stop"));
      },
    });
    await expect(work).rejects.toThrow("stop");
    expect(done).toBeGreaterThan(0);
    expect(done).toBeLessThan(12);
    expect((await small.stylize(tile(1), tile(2))).width).toBe(SIZE);
  });

  it("dispose is idempotent, and what follows is refused", async () => {
    const mortal = await load();
    const underway = mortal.stylize(tile(1), tile(2));
    await mortal[Symbol.asyncDispose]();
    // What was under way was waited for.
    expect((await underway).width).toBe(SIZE);
    mortal.dispose();
    expect((await refusal(mortal.stylize(tile(1), tile(2)))).code).toBe("DISPOSED");
  });

  it("a device lost in the middle is replaced, once, and banks with it", async () => {
    const notes: string[] = [];
    await using fragile = await load({ onNote: (text) => notes.push(text) });
    using bank = await fragile.styleBank([tile(1), tile(2)]);
    const [before] = await fragile.stylize([tile(3)], bank, { styles: [1] });
    const lost = fragile.device;
    lost.destroy();
    const [after] = await fragile.stylize([tile(3)], bank, { styles: [1] });
    expect(bytes(after!).equals(bytes(before!))).toBe(true);
    expect(fragile.device).not.toBe(lost);
    expect(notes).toEqual([expect.stringMatching(/device was lost/)]);
    // Lost under work that is on its way, too.
    const work = fragile.stylize([tile(3), tile(4)], [tile(5), tile(6)]);
    fragile.device.destroy();
    expect(await work).toHaveLength(2);
  });

  it("a device lost under several batches fails once, quietly, and all are painted", async () => {
    await using fragile = await load({ batchSize: 1 });
    const many = Array.from({ length: 6 }, (_, i) => tile(i));
    const expected = await fragile.stylize(many, many);
    const unhandled: unknown[] = [];
    const listen = (error: unknown) => unhandled.push(error);
    process.on("unhandledRejection", listen);
    const device = fragile.device;
    const again = await fragile.stylize(many, many, { onProgress: (done) => done === 2 && device.destroy() });
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
    expect(again.map((image) => bytes(image).equals(bytes(expected[again.indexOf(image)]!)))).toEqual(Array(6).fill(true));
  });

  it("a device lost again on the second try is a clear failure, and the next call starts afresh", async () => {
    await using fragile = await load({ batchSize: 1 });
    const many = [tile(1), tile(2), tile(3)];
    const doomed = fragile.stylize(many, many, { onProgress: (done) => done === 1 && fragile.device.destroy() });
    const error = await refusal(doomed);
    expect([error.code, error.message]).toEqual(["DEVICE_LOST", expect.stringMatching(/lost twice in a row/)]);
    expect(await fragile.stylize(many, many)).toHaveLength(3);
  });

  it("a caller's device that is lost is said to be, and not replaced", async () => {
    const gpu = await openGpu(options);
    await using guest = await StylizingViT.load("hashed:3", { config, device: gpu.device });
    gpu.device.destroy();
    expect((await refusal(guest.stylize(tile(1), tile(2)))).code).toBe("DEVICE_LOST");
  });

  it("two models live side by side on one machine", async () => {
    await using second = await load();
    const [a, b] = await Promise.all([model.stylize(tile(1), tile(2)), second.stylize(tile(1), tile(2))]);
    expect(bytes(a).equals(bytes(b))).toBe(true);
  });
});

it("measures statistics as Pillow and NumPy would", () => {
  const image = { data: Uint8Array.from([0, 51, 255, 102, 51, 255]), width: 2, height: 1, channels: 3 };
  const { mean, std } = measureStatistics([image]);
  expect(mean.map((v) => v.toFixed(6))).toEqual(["0.200000", "0.200000", "1.000000"]);
  expect(std.map((v) => v.toFixed(6))).toEqual(["0.200000", (1 / 255).toFixed(6), (1 / 255).toFixed(6)]);
});
