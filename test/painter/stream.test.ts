import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { Gpu, openGpu } from "../../src/gpu/gpu.js";
import { loadSquare } from "../../src/image/preprocess.js";
import { type Image, paintTissue, type StreamTiming, StylizingViT } from "../../src/index.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { build } from "../command/command.js";

/** Small enough that hundreds of batches take seconds. */
const SIZE = 16;
const config = parseConfig(
  { image_size: SIZE, patch_size: 8, embed_dim: 48, num_heads: 1, depth: 1, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] },
  "a test's model",
);
const options = { adapter: "software", precision: "f32", config } as const;

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-stream-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Images of other sizes, in files and read. */
const files: string[] = [];
const images: Image[] = [];
let model: StylizingViT;
beforeAll(async () => {
  await build();
  for (let i = 0; i < 8; i++) {
    const file = join(folder, `${i}.jpg`);
    const { data } = paintTissue({ size: 64, seed: i, hospital: i % 5 });
    await sharp(data, { raw: { width: 64, height: 64, channels: 3 } })
      .extract({ left: 0, top: 0, width: 64, height: 40 + 3 * i })
      .toFile(file);
    files.push(file);
    images.push(await loadSquare(file, SIZE, 3, { fit: "mirror" }));
  }
  model = await StylizingViT.load("hashed:1", { ...options, workers: 2 });
});
afterAll(() => model[Symbol.asyncDispose]());

const bytes = (list: readonly Image[]) => list.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
const pairs = (count: number) =>
  numbers(count).map((i) => ({ content: files[i % 8]!, style: files[(i * 3 + 1) % 8]!, label: i }));
const inMemory = (count: number) => numbers(count).map((i) => ({ content: images[i % 8]!, style: images[(i * 3 + 1) % 8]! }));

/** What `stylize` makes of the same pairs, batch by batch. */
async function stylized(count: number, size: number): Promise<Image[]> {
  const all: Image[] = [];
  for (let from = 0; from < count; from += size) {
    const batch = inMemory(count).slice(from, from + size);
    all.push(
      ...(await model.stylize(
        batch.map((pair) => pair.content),
        batch.map((pair) => pair.style),
      )),
    );
  }
  return all;
}

async function failure(work: Promise<unknown>): Promise<StylizingError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Error);
  return error as StylizingError;
}

async function drain<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const batch of stream) all.push(batch);
  return all;
}

/** Rejections that nobody handled while `work` ran, and shortly after. */
async function unhandledIn(work: () => Promise<unknown>): Promise<unknown[]> {
  const unhandled: unknown[] = [];
  const listen = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", listen);
  try {
    await work();
    await delay(50);
  } finally {
    process.off("unhandledRejection", listen);
  }
  return unhandled;
}

describe("what a stream paints", () => {
  it("files, images and both: as stylize paints them to the byte, in order, with what the pairs carry", async () => {
    const expected = bytes(await stylized(11, 3));
    const mixed = pairs(11).map((pair, i) => ({
      label: i,
      content: i % 2 ? pair.content : images[i % 8]!,
      style: i % 3 ? pair.style : images[(i * 3 + 1) % 8]!,
    }));
    for (const source of [pairs(11), mixed]) {
      const batches = await drain(model.stream(source, { batchSize: 3 }));
      expect(batches.map(({ first }) => first)).toEqual([0, 3, 6, 9]);
      expect(batches.flatMap((batch) => batch.pairs.map(({ label }) => label))).toEqual(numbers(11));
      const painted = bytes(batches.flatMap((batch) => batch.images));
      expect(painted.map((image, i) => image.equals(expected[i]!))).toEqual(Array(11).fill(true));
    }
  });

  it("floats where a batch holds floats", async () => {
    const floats = { ...images[0]!, data: Float32Array.from(images[0]!.data, (v) => v / 255) };
    const source = [
      { content: files[0]!, style: files[1]! },
      { content: floats, style: files[1]! },
      { content: files[0]!, style: files[1]! },
    ];
    const [first, second] = await drain(model.stream(source, { batchSize: 2 }));
    expect(first!.images.map(({ data }) => data.constructor)).toEqual([Float32Array, Float32Array]);
    expect(second!.images[0]!.data).toBeInstanceOf(Uint8Array);
    for (let i = 0; i < SIZE * SIZE * 3; i++) {
      expect(Math.abs(first!.images[0]!.data[i]! * 255 - second!.images[0]!.data[i]!)).toBeLessThanOrEqual(0.51);
    }
  });

  it("styles of a bank by their numbers, also one content in many", async () => {
    using bank = await model.styleBank(images.slice(0, 4));
    const source = numbers(12).map((i) => ({ content: files[i < 6 ? i : 7]!, style: (i * 3) % 4 }));
    const batches = await drain(model.stream(source, { batchSize: 3, bank }));
    for (const { pairs: own, images: painted } of batches) {
      const contents = own.map(({ content }) => images[files.indexOf(content)]!);
      const alone = new Set(contents).size === 1;
      const styles = own.map(({ style }) => style);
      const expected = bytes(await model.stylize(alone ? contents.slice(0, 1) : contents, bank, { styles }));
      expect(bytes(painted).map((image, i) => image.equals(expected[i]!))).toEqual([true, true, true]);
    }
    expect(batches).toHaveLength(4);
  });
});

describe("images that cannot be read", () => {
  const broken = () => {
    const text = join(folder, "text.png");
    writeFileSync(text, "no image");
    const all = pairs(8).map((pair) => ({ ...pair }));
    all[2]!.content = join(folder, "missing.png");
    all[3]!.style = text;
    return all;
  };

  it("end the stream at their batch, after those before it", async () => {
    const seen: number[] = [];
    const work = (async () => {
      for await (const { first } of model.stream(broken(), { batchSize: 2 })) seen.push(first);
    })();
    expect(await failure(work)).toMatchObject({ code: "IMAGE", message: expect.stringContaining("missing.png does not exist") });
    expect(seen).toEqual([0]);
  });

  it("are left out and reported where somebody listens", async () => {
    const reported: [number, string][] = [];
    const onUnreadable = ({ label }: { label: number }, error: unknown) => reported.push([label, (error as StylizingError).code]);
    const batches = await drain(model.stream(broken(), { batchSize: 2, onUnreadable }));
    // The second batch had nothing else.
    expect(batches.map(({ first }) => first)).toEqual([0, 4, 6]);
    expect(reported).toEqual([
      [2, "IMAGE"],
      [3, "IMAGE"],
    ]);
    const five = await drain(model.stream(broken(), { batchSize: 5, onUnreadable }));
    expect(five.map((batch) => batch.pairs.map(({ label }) => label))).toEqual([
      [0, 1, 4],
      [5, 6, 7],
    ]);
    expect(five.map((batch) => batch.images.length)).toEqual([3, 3]);
  });
});

describe("where the time went", () => {
  const stages = ["decode", "upload", "compute", "download", "wait", "host"] as const;

  it("comes with every batch, and its sums at the end", async () => {
    const totals: StreamTiming[] = [];
    const start = performance.now();
    const batches = await drain(model.stream(pairs(24), { batchSize: 4, onTiming: (timing) => totals.push(timing) }));
    const passed = performance.now() - start;
    expect(totals).toHaveLength(1);
    const [total] = totals;
    for (const stage of stages) {
      const values = batches.map(({ timing }) => timing[stage]);
      for (const value of values) expect(value, stage).toBeGreaterThanOrEqual(0);
      expect(total![stage], stage).toBeCloseTo(
        values.reduce((a, b) => a + b, 0),
        6,
      );
    }
    for (const { timing } of batches) {
      for (const stage of ["decode", "upload", "compute", "download", "host"] as const)
        expect(timing[stage], stage).toBeGreaterThan(0);
    }
    expect(total).toMatchObject({ batches: 6, images: 24, clock: "device" });
    // Nothing was painted before the first images were read.
    expect(batches[0]!.timing.wait).toBeGreaterThan(0);
    expect(total!.compute).toBeLessThan(passed);
    expect(total!.milliseconds).toBeLessThanOrEqual(passed);
    expect(total!.busy).toBeGreaterThan(0);
    expect(total!.busy).toBeLessThanOrEqual(1);
  });

  it("shows a source that is too slow as waiting, and the device as idle", async () => {
    async function* slow() {
      for (const pair of inMemory(8)) {
        await delay(100);
        yield pair;
      }
    }
    let total: StreamTiming | undefined;
    const stream = model.stream(slow(), {
      batchSize: 2,
      onTiming: (timing) => {
        total = timing;
      },
    });
    expect(await drain(stream)).toHaveLength(4);
    expect(total!.decode).toBe(0);
    expect(total!.wait).toBeGreaterThan(total!.milliseconds / 2);
    expect(total!.busy).toBeLessThan(0.6);
  });

  it("is told by the host's clock where the device has no timestamps", async () => {
    using gpu = await openGpu({ adapter: "software", precision: "f32" });
    Object.defineProperty(gpu.device, "features", { value: new Set() });
    await using blind = await StylizingViT.load("hashed:1", { config, device: gpu.device });
    let total: StreamTiming | undefined;
    const start = performance.now();
    const onTiming = (timing: StreamTiming) => {
      total = timing;
    };
    await drain(blind.stream(inMemory(6), { batchSize: 2, onTiming }));
    expect(total).toMatchObject({ batches: 3, clock: "host" });
    // Batches that wait for one another do not count twice.
    expect(total!.compute).toBeLessThan(performance.now() - start);
    expect(total!.compute).toBeGreaterThan(0);
  });
});

describe("back-pressure", () => {
  it("three batches are under way at most, and none is pulled that was not asked for", async () => {
    let pulled = 0;
    function* source() {
      for (const pair of pairs(20)) {
        pulled++;
        yield pair;
      }
    }
    const stream = model.stream(source(), { batchSize: 2 });
    await delay(20);
    expect(pulled).toBe(0);
    for (let batch = 1; batch <= 10; batch++) {
      expect((await stream.next()).value!.first).toBe(2 * (batch - 1));
      await delay(20);
      expect(pulled - 2 * batch).toBeLessThanOrEqual(4);
    }
    expect((await stream.next()).done).toBe(true);
    expect(pulled).toBe(20);
  });

  it("a source that lets wait holds nothing back, and may be left", async () => {
    let closed = false;
    let resume!: () => void;
    const waiting = new Promise<void>((resolve) => {
      resume = resolve;
    });
    async function* source() {
      try {
        yield* inMemory(4);
        await waiting;
        yield* inMemory(4);
      } finally {
        closed = true;
      }
    }
    const stream = model.stream(source(), { batchSize: 2 });
    expect((await stream.next()).value!.first).toBe(0);
    expect((await stream.next()).value!.first).toBe(2);
    await stream.return();
    resume();
    await delay(20);
    expect(closed).toBe(true);
  });

  it("a source that fails does so after what came before", async () => {
    async function* source() {
      yield* inMemory(5);
      throw new Error("the source is broken");
    }
    const seen: number[] = [];
    const work = (async () => {
      for await (const { first } of model.stream(source(), { batchSize: 2 })) seen.push(first);
    })();
    expect((await failure(work)).message).toBe("the source is broken");
    expect(seen).toEqual([0, 2]);
  });
});

describe("a stream that is ended early", () => {
  /** A source that says whether it was closed. */
  function endless() {
    const state = { closed: false };
    async function* source() {
      try {
        for (;;) yield* pairs(8);
      } finally {
        state.closed = true;
      }
    }
    return { state, source: source() };
  }

  it("by its signal, at any moment: its reason, all buffers back, and the model goes on", async () => {
    const expected = bytes(await stylized(6, 3));
    await drain(model.stream(pairs(12), { batchSize: 3 }));
    const before = model.memory().deviceBytes;
    const unhandled = await unhandledIn(async () => {
      for (const moment of ["before", "at 0 ms", "at 3 ms", "at 17 ms", "at 40 ms", "batch 1", "batch 2", "batch 5"]) {
        const { state, source } = endless();
        const controller = new AbortController();
        const abort = () => controller.abort(new Error(`stopped ${moment}`));
        if (moment === "before") abort();
        const timer = moment.startsWith("at") ? setTimeout(abort, Number.parseInt(moment.slice(3), 10)) : undefined;
        let seen = 0;
        const work = (async () => {
          for await (const _ of model.stream(source, { batchSize: 3, signal: controller.signal })) {
            if (moment === `batch ${++seen}`) abort();
          }
        })();
        expect((await failure(work)).message).toBe(`stopped ${moment}`);
        clearTimeout(timer);
        // What was never opened needs no closing.
        expect(state.closed, moment).toBe(moment !== "before");
        const batches = await drain(model.stream(pairs(6), { batchSize: 3 }));
        expect(bytes(batches.flatMap((batch) => batch.images)).map((image, i) => image.equals(expected[i]!))).toEqual(
          Array(6).fill(true),
        );
      }
    });
    expect(unhandled).toEqual([]);
    expect(model.memory().deviceBytes).toBe(before);
  });

  it("by break, by a consumer that throws, and by a pair that is wrong", async () => {
    await drain(model.stream(pairs(12), { batchSize: 3 }));
    const before = model.memory().deviceBytes;
    const unhandled = await unhandledIn(async () => {
      for (let i = 0; i < 5; i++) {
        const broken = endless();
        for await (const { first } of model.stream(broken.source, { batchSize: 3 })) if (first >= 3 * i) break;
        expect(broken.state.closed).toBe(true);

        const thrown = endless();
        const work = (async () => {
          for await (const _ of model.stream(thrown.source, { batchSize: 3 })) throw new Error("the consumer is broken");
        })();
        expect((await failure(work)).message).toBe("the consumer is broken");
        expect(thrown.state.closed).toBe(true);
      }
      const wrong = [...pairs(6), { content: 7, style: files[0]! } as never];
      expect(await failure(drain(model.stream(wrong, { batchSize: 3 })))).toMatchObject({ code: "ARGUMENT" });
    });
    expect(unhandled).toEqual([]);
    expect(model.memory().deviceBytes).toBe(before);
  });

  it("by disposing of the model", async () => {
    const mortal = await StylizingViT.load("hashed:1", { ...options, workers: 2 });
    const { source } = endless();
    const unhandled = await unhandledIn(async () => {
      const work = (async () => {
        for await (const { first } of mortal.stream(source, { batchSize: 3 })) if (first === 6) mortal.dispose();
      })();
      expect((await failure(work)).code).toBe("DISPOSED");
    });
    expect(unhandled).toEqual([]);
  });
});

describe("faults", () => {
  it("a device lost in the middle is replaced once, and the batches under way are painted again", async () => {
    const expected = bytes(await stylized(16, 2));
    const notes: string[] = [];
    await using fragile = await StylizingViT.load("hashed:1", { ...options, workers: 2, onNote: (note) => notes.push(note) });
    const painted: Image[] = [];
    let total: StreamTiming | undefined;
    const unhandled = await unhandledIn(async () => {
      const stream = fragile.stream(pairs(16), {
        batchSize: 2,
        onTiming: (timing) => {
          total = timing;
        },
      });
      for await (const batch of stream) {
        expect(batch.first).toBe(painted.length);
        painted.push(...batch.images);
        if (batch.first === 4) fragile.device.destroy();
      }
    });
    expect(unhandled).toEqual([]);
    expect(bytes(painted).map((image, i) => image.equals(expected[i]!))).toEqual(Array(16).fill(true));
    expect(notes).toEqual([expect.stringMatching(/device was lost/)]);
    expect(total).toMatchObject({ batches: 8, images: 16 });
  });

  it("a batch that does not fit the memory is halved as often as need be, once and for all, and said", async () => {
    const expected = bytes(await stylized(24, 8));
    const notes: string[] = [];
    await using small = await StylizingViT.load("hashed:1", { ...options, batchSize: 8, onNote: (note) => notes.push(note) });
    const checked = Gpu.prototype.checked;
    const refused: number[] = [];
    // A device with room for three images.
    const spy = vi.spyOn(Gpu.prototype, "checked").mockImplementation(function (this: Gpu, what, work) {
      const size = Number(/^a batch of (\d+) images$/.exec(what)?.[1] ?? 0);
      if (size <= 3) return checked.call(this, what, work) as never;
      refused.push(size);
      return Promise.reject(new StylizingError("GPU", "No room.", "Use a smaller batch.", { cause: "out-of-memory" }));
    });
    try {
      const batches = await drain(small.stream(inMemory(24), { batchSize: 8 }));
      expect(batches.map((batch) => batch.images.length)).toEqual([8, 8, 8]);
      const apart = bytes(batches.flatMap((batch) => batch.images)).map((image, i) =>
        Math.max(...image.map((value, at) => Math.abs(value - expected[i]![at]!))),
      );
      // Batches of another size may round a value between two levels the other way.
      expect(Math.max(...apart)).toBeLessThanOrEqual(1);
    } finally {
      spy.mockRestore();
    }
    expect(small.batchSize).toBe(2);
    expect(notes).toEqual([expect.stringContaining("a batch of 8 does not fit"), expect.stringContaining("going on with 2")]);
    // Batches that were on their way already are refused too, and none after them.
    expect(refused.length).toBeLessThanOrEqual(6);
  });

  it.each<[string, object, RegExp]>([
    ["no content", { style: "a.png" }, /content of a pair is undefined/],
    ["a style number without a bank", { content: "a.png", style: 0 }, /style of a pair is number/],
  ])("%s is refused", async (_, pair, message) => {
    const error = await failure(drain(model.stream([pair as never])));
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
  });

  it("a style that is no number of the bank, and a batch size of zero, are refused", async () => {
    using bank = await model.styleBank(images.slice(0, 2));
    const path = await failure(drain(model.stream([{ content: files[0]!, style: files[0]! }], { bank })));
    expect(path).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("a pair's style is string") });
    const far = await failure(drain(model.stream([{ content: files[0]!, style: 2 }], { bank })));
    expect(far).toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("no style 2 in a bank of 2") });
    expect(await failure(drain(model.stream(pairs(1), { batchSize: 0 })))).toMatchObject({ code: "ARGUMENT" });
    expect(await failure(StylizingViT.load("hashed:1", { ...options, workers: -1 }))).toMatchObject({ code: "ARGUMENT" });
  });
});
