import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GpuImages, type Image, measureStatistics, StylizingError, StylizingViT } from "../../src/index.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";

// What callers give that is no image, or does not stay one: an error that says what to do, and never a wrong result.
const SIZE = 16;
const each = SIZE * SIZE * 3;
const shape = { image_size: SIZE, patch_size: 8, embed_dim: 48, num_heads: 1, depth: 1 };
const config = parseConfig({ ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }, "a test's model");
const options = { adapter: "software", precision: "f32", config } as const;

let model: StylizingViT;
beforeAll(async () => {
  model = await StylizingViT.load("hashed:1", options);
});
afterAll(() => model.dispose());

const image = (data: Image["data"]): Image => ({ data, width: SIZE, height: SIZE, channels: 3 });
const waves = (seed: number) => Uint8Array.from({ length: each }, (_, i) => 128 + 100 * Math.sin(i * 0.37 * seed));
const [some, other] = [image(waves(1)), image(waves(2))];
const floats = (change: (value: number, at: number) => number) =>
  image(Float32Array.from(some.data, (v, i) => change(v / 255, i)));
const drain = async (pairs: unknown) => {
  for await (const _ of model.stream(pairs as never)) expect.unreachable();
};

async function refusal(work: () => unknown): Promise<StylizingError> {
  const error = await (async () => work())().then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(StylizingError);
  expect(error).toMatchObject({ code: "ARGUMENT", fix: expect.stringMatching(/\w{3}/) });
  return error as StylizingError;
}

describe("floats that are not in [0, 1]", () => {
  it.each<[string, Image, RegExp, RegExp]>([
    ["NaN", floats((v, i) => (i === 700 ? Number.NaN : v)), /the value NaN/, /division by zero/],
    ["an infinity", floats((v, i) => (i === 3 ? Number.POSITIVE_INFINITY : v)), /the value Infinity/, /division by zero/],
    ["0 to 255", floats((v) => 255 * v), /the value \d+,/, /Divide by 255/],
    ["0 to 65535", floats((v) => 65535 * v), /the value \d+,/, /65535/],
    ["−1 to 1", floats((v) => 2 * v - 1), /the value -0\.\d+,/, /\(x \+ 1\) \/ 2/],
    ["normalised", floats((v) => (v - 0.5) / 0.2), /the value -?\d\.\d+,/, /Undo the normalisation/],
  ])("%s: refused with the image and the value, wherever they come in", async (_, wrong, value, cure) => {
    const tensor = { data: new Float32Array(2 * each), shape: [2, SIZE, SIZE, 3] } as const;
    tensor.data.set(wrong.data, each);
    for (const [work, what] of [
      [() => model.stylize(wrong, some), "content"],
      [() => model.stylize([some, some], [some, wrong]), "style 1"],
      [() => model.stylize(tensor, some), "content 1"],
      [() => model.styleBank([some, wrong]), "style 1"],
      [() => drain([{ content: some, style: other }, { content: wrong, style: other }]), "content 1"],
      [() => measureStatistics([some, wrong]), "Image 1"],
    ] as const) {
      const error = await refusal(work);
      expect(error.message.startsWith(`${what} has `), error.message).toBe(true);
      expect(error.message).toMatch(value);
      expect(error.fix).toMatch(cure);
    }
  }); // biome-ignore format: a table

  it("a hair of rounding is none", async () => {
    const painted = await model.stylize(
      floats((v) => v * (1 + 1e-6)),
      floats((v) => v - 1e-7),
    );
    expect(painted.data.every(Number.isFinite)).toBe(true);
  });

  it("planes are any numbers, but numbers", async () => {
    const planes = new Float32Array(each).fill(-3);
    expect((await model.forward(planes, planes)).every(Number.isFinite)).toBe(true);
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const wrong = planes.with(20, value);
      expect((await refusal(() => model.forward(planes, wrong))).message).toContain(
        `style has the value ${value} at position 20`,
      );
      await refusal(() => model.trace(wrong, planes));
    }
  });
});

describe("what is no image", () => {
  const gone = waves(1);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  const sparse = [some, some];
  delete (sparse as unknown[])[1];
  const buffer = (more: object) => ({ buffer: { size: 1e6, usage: 4, mapState: "unmapped", ...more }, shape: [1, SIZE, SIZE, 3], format: "bytes" }) as never as GpuImages; // biome-ignore format: one line

  it.each<[string, () => unknown, RegExp]>([
    ["null in a list", () => model.stylize([some, null as never], other), /content 1 is null/],
    ["a hole in a list", () => model.stylize(sparse, other), /content 1 is undefined/],
    ["words in a list", () => model.styleBank([some, "style.png" as never]), /style 1 is string/],
    ["null in a measured list", () => measureStatistics([null as never]), /Image 0 is null/],
    ["no list to measure", () => measureStatistics(some as never), /images to measure are Object/],
    ["an image without an array", () => model.stylize(image([1, 2, 3] as never), some), /data of type Array/],
    ["an array that was transferred", () => model.stylize(image(gone), some), /has 0 values \(were they transferred/],
    ["a tensor of it", () => model.stylize({ data: gone, shape: [1, SIZE, SIZE, 3] }, some), /0 values \(were they transferred/],
    ["a tensor without a shape", () => model.stylize({ data: some.data, shape: null as never }, some), /shape of content is null/],
    ["a shape of two", () => model.stylize({ data: some.data, shape: [1, each] as never }, some), /shape of content is \[1, 768\]/],
    ["a negative shape", () => model.stylize({ data: some.data, shape: [-1, -SIZE, SIZE, 3] }, some), /shape of content is \[-1/],
    ["a tensor without data", () => model.stylize({ data: null as never, shape: [1, SIZE, SIZE, 3] }, some), /data of type null/],
    ["a pair of nothing", () => drain([null]), /A pair is null/],
    ["a pair of half an image", () => drain([{ content: some, style: {} }]), /style 0 says undefined/],
    ["pairs that are no list", () => drain(7), /pairs are number/],
    ["planes in a plain array", () => model.forward([0] as never, new Float32Array(each)), /content is Array of 1/],
    ["no planes", () => model.trace(undefined as never, new Float32Array(each)), /content is undefined/],
    ["styles that are no list", async () => model.stylize(some, await model.styleBank([other]), { styles: 0 as never }), /`styles` is number/],
    ["no buffer", () => model.stylize({ ...buffer({}), buffer: null as never }, some), /buffer of content is null/],
    ["a buffer without a shape", () => model.stylize({ ...buffer({}), shape: undefined as never }, some), /GPU buffer of undefined/],
    ["an offset below zero", () => model.stylize({ ...buffer({}), offset: -4 }, some), /offset of content is -4/],
    ["half a word's offset", () => model.stylize({ ...buffer({}), offset: 2 }, some), /offset of content is 2/],
    ["an offset beyond the end", () => model.stylize({ ...buffer({}), offset: 1e6 }, some), /its buffer ends before/],
    ["a buffer without COPY_SRC", () => model.stylize(buffer({ usage: 8 }), some), /cannot be copied from\. .*COPY_SRC/],
    ["a mapped buffer", () => model.stylize(buffer({ mapState: "mapped" }), some), /is mapped\. Call its unmap/],
  ])("%s", async (_, work, message) => {
    expect((await refusal(work)).message).toMatch(message);
  }); // biome-ignore format: a table
});

describe("GPU buffers", () => {
  const usage = 4 | 8;
  const given = (buffer: GPUBuffer, count = 1) => ({ buffer, shape: [count, SIZE, SIZE, 3], format: "bytes" }) as const;
  const upload = (one: Image = some, device = model.device) => {
    const buffer = device.createBuffer({ size: each, usage });
    device.queue.writeBuffer(buffer, 0, one.data as Uint8Array<ArrayBuffer>);
    return buffer;
  };
  const download = async ({ buffer }: GpuImages) => {
    const read = model.device.createBuffer({ size: each, usage: 1 | 8 });
    const encoder = model.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, read, 0, each);
    model.device.queue.submit([encoder.finish()]);
    await read.mapAsync(1);
    return new Uint8Array(read.getMappedRange()).slice();
  };
  /** Errors of the device that reached nobody. */
  const uncaptured: string[] = [];
  beforeAll(() => {
    model.device.addEventListener("uncapturederror", ({ error }) => uncaptured.push(error.message));
  });

  it("that are destroyed are an error of the call that read them, and of no other", async () => {
    const [good, gone, style] = [upload(), upload(), upload(other)];
    gone.destroy();
    const calls = [model.stylize(given(good), given(style)), model.stylize(given(gone), given(style)), model.stylize(given(good), given(style))]; // biome-ignore format: one line
    expect((await refusal(() => calls[1])).message).toMatch(/refused.*destroyed.*neither mapped nor destroyed/);
    const expected = await model.stylize(some, other);
    for (const call of [calls[0]!, calls[2]!]) expect(await download(await call)).toEqual(expected.data);
    // As style of many, in a bank that is made for the call, and destroyed behind it.
    await refusal(() => model.stylize([some, some, some], given(gone)));
    const later = model.stylize(given(good), given(style));
    good.destroy();
    await refusal(() => later);
    expect(uncaptured).toEqual([]);
  });

  it("of another device, without COPY_SRC, mapped, or too short", async () => {
    const style = given(upload(other));
    await using stranger = await StylizingViT.load("hashed:1", options);
    expect((await refusal(() => model.stylize(given(upload(some, stranger.device)), style))).message).toMatch(/own device/);
    const deaf = model.device.createBuffer({ size: each, usage: 8 });
    expect((await refusal(() => model.stylize(given(deaf), style))).message).toMatch(/cannot be copied from/);
    const mapped = model.device.createBuffer({ size: each, usage: 4 | 2, mappedAtCreation: true });
    expect((await refusal(() => model.stylize(given(mapped), style))).message).toMatch(/is mapped/);
    expect((await refusal(() => model.stylize({ ...given(upload()), offset: 4 }, style))).message).toMatch(/ends before/);
    mapped.unmap();
    expect((await model.stylize(given(mapped), style)).shape).toEqual([1, SIZE, SIZE, 3]);
    expect(uncaptured).toEqual([]);
  });
});

describe("what was given", () => {
  const bytes = ({ data }: { data: Image["data"] }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const shared = ({ data }: Image) => {
    const copy = data instanceof Float32Array ? new Float32Array(new SharedArrayBuffer(4 * each)) : new Uint8Array(new SharedArrayBuffer(each));
    copy.set(data);
    return copy;
  }; // biome-ignore format: one line

  it("may lie in memory that threads share", async () => {
    const expected = await model.stylize(some, other);
    const [content, style] = [image(shared(some)), image(shared(other))];
    expect(bytes(await model.stylize(content, style)).equals(bytes(expected))).toBe(true);
    expect(bytes(await model.stylize({ data: content.data, shape: [1, SIZE, SIZE, 3] }, style)).equals(bytes(expected))).toBe(
      true,
    );
    for await (const { images } of model.stream([{ content, style }, { content, style }])) // biome-ignore format: one line
      for (const painted of images) expect(bytes(painted).equals(bytes(expected))).toBe(true);
    const planes = new Float32Array(new SharedArrayBuffer(4 * each)).fill(0.5);
    expect(await model.forward(planes, planes)).toEqual(await model.forward(planes.slice(), planes.slice()));
  });

  it("may be changed as soon as the call has returned", async () => {
    // Of the model's size, of another one, and of other channels.
    const large = (seed: number): Image => ({ data: Uint8Array.from({ length: 40 * 30 * 3 }, (_, i) => (i * seed) & 255), width: 40, height: 30, channels: 3 }); // biome-ignore format: one line
    const grey = (seed: number): Image => ({ data: waves(seed).slice(0, SIZE * SIZE), width: SIZE, height: SIZE, channels: 1 });
    const list = () => [image(waves(5)), large(3), grey(7)];
    const tensor = () => ({ data: Uint8Array.from([...waves(5), ...waves(6)]), shape: [2, SIZE, SIZE, 3] }) as const;
    const styles = () => [image(waves(8)), large(5), image(waves(9))];
    const [listed, tensed] = [await model.stylize(list(), styles()), await model.stylize(tensor(), other)];
    const spoil = (images: readonly { data: Image["data"] }[]) => {
      for (const { data } of images) data.fill(0);
    };
    const [a, b, c] = [list(), styles(), tensor()];
    const calls = [model.stylize(a, b), model.stylize(c, other)] as const;
    spoil([...a, ...b, c]);
    a.length = 1;
    expect((await calls[0]).map(bytes)).toEqual(listed.map(bytes));
    expect(bytes(await calls[1]).equals(bytes(tensed))).toBe(true);

    const [d, chosen] = [styles(), [2, 0]];
    const making = model.styleBank(d);
    spoil(d);
    using bank = await making;
    const fromBank = model.stylize([some, some], bank, { styles: chosen });
    chosen.fill(1);
    using plain = await model.styleBank(styles());
    const expected = await model.stylize([some, some], plain, { styles: [2, 0] });
    expect((await fromBank).map(bytes)).toEqual(expected.map(bytes));
  });
});
