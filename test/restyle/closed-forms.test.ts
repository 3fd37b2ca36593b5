import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { matchColour } from "../../src/image/colour-match.js";
import { keepBackground } from "../../src/image/tissue-weight.js";
import type { PixelImage } from "../../src/image/types.js";
import { fraction } from "../../src/random.js";
import { ClosedForms, fitRandStainNA } from "../../src/restyle/closed-forms.js";
import { checkFits } from "../../src/restyle/engine.js";
import { METHODS, methodNamed } from "../../src/restyle/methods.js";
import type { Params, RestyleJob } from "../../src/restyle/types.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { SLOW } from "../support/slow.js";
import { levelsApart } from "./golden.js";

const gpu = gpuOfThisFile();
let forms: ClosedForms;
beforeAll(async () => {
  if (gpu()) forms = await ClosedForms.open({ device: gpu().device });
});
afterAll(() => forms?.dispose());

const CLOSED = METHODS.map(({ name }) => name).filter((name) => name !== "stylizing-vit");

/** Tissue of a size, with glass at its right. */
function tile(width: number, height: number, seed: number, channels: 1 | 3 = 3): PixelImage {
  const data = new Uint8Array(width * height * channels);
  for (let at = 0; at < data.length; at++) {
    const [pixel, c] = [Math.floor(at / channels), at % channels];
    const [h, e] = [1.6 * fraction(seed, pixel, 0), fraction(seed, pixel, 1)];
    const stained = 240 * Math.exp(-([0.65, 0.7, 0.29][c]! * h + [0.07, 0.99, 0.11][c]! * e));
    data[at] = pixel % width >= 0.8 * width ? 242 : Math.round(stained);
  }
  return { data, width, height, channels };
}

const flat = (width: number, height: number, colour: readonly number[]): PixelImage => ({
  data: Uint8Array.from({ length: 3 * width * height }, (_, at) => colour[at % 3]!),
  ...{ width, height, channels: 3 },
});

const draw = (index: number) => fraction(7, index);
const TABLE = {
  avg_mean: [158, 151, 117],
  avg_std: [48, 11, 12],
  std_mean: [39, 9, 9],
  std_std: [10, 3, 3],
};
const paramsOf = (name: string, params: Params = {}): Params =>
  methodNamed(name).settle(
    name === "randstainna" ? { table: TABLE, ...params } : name === "fda" ? { beta: 0.05, ...params } : params,
    draw,
  );

describe.each(CLOSED)("%s", (name) => {
  it("has the same bits alone and among others of other sizes", async () => {
    const [style, params] = [tile(50, 31, 9), paramsOf(name)];
    const jobs: RestyleJob[] = [
      [61, 47],
      [8, 8],
      [130, 33],
    ].map(([width, height], seed) => ({ content: tile(width!, height!, seed), style, params }));
    const many = Array.from({ length: 64 }, (_, at) => ({ content: tile(3 + (at % 7), 2 + (at % 5), at), style, params }));
    const restyler = forms.restyler(name);
    const alone = (await restyler.restyle([jobs[0]!]))[0]!;
    const three = await restyler.restyle([jobs[1]!, jobs[2]!, jobs[0]!]);
    expect(levelsApart(alone.image.data, three[2]!.image.data)).toBe(0);
    expect(three[2]!.params).toEqual(alone.params);
    const all = await restyler.restyle([...many.slice(0, 40), jobs[0]!, ...many.slice(40)]);
    expect(levelsApart(alone.image.data, all[40]!.image.data)).toBe(0);
    expect(alone.applied).toBe(true);
    expect(levelsApart(alone.image.data, jobs[0]!.content.data)).toBeGreaterThan(0);
  });

  it("takes styles from a bank as it takes images, bit for bit, and gives the numbers that make the result again", async () => {
    const restyler = forms.restyler(name);
    const styles = [tile(40, 21, 3), tile(33, 64, 4)];
    const params = name === "randstainna" ? methodNamed(name).settle({ targetMean: [150, 140, 110] }, draw) : paramsOf(name);
    const content = tile(45, 38, 5);
    using bank = await restyler.styleBank(styles);
    expect(bank.size).toBe(2);
    const [banked] = await restyler.restyle([{ content, style: 1, params }], { bank });
    if (name !== "randstainna") {
      const [direct] = await restyler.restyle([{ content, style: styles[1], params }]);
      expect(levelsApart(direct!.image.data, banked!.image.data)).toBe(0);
      expect(direct!.params).toEqual(banked!.params);
    }
    const crowd = Array.from({ length: 18 }, (_, at) => ({ content: tile(9 + at, 11, at), style: 1 - (at % 2), params }));
    const among = await restyler.restyle([...crowd, { content, style: 1, params }], { bank });
    expect(levelsApart(among[18]!.image.data, banked!.image.data)).toBe(0);
    expect(among[18]!.params).toEqual(banked!.params);
    if (name === "fda" || name === "histogram-match") return;
    expect(methodNamed(name).needsStyle(banked!.params)).toBe(false);
    const [again] = await restyler.restyle([{ content, params: banked!.params }]);
    expect(levelsApart(again!.image.data, banked!.image.data)).toBe(0);
  });

  it("stands images of one pixel, of one row, of one colour and all white", async () => {
    const style = tile(20, 20, 6);
    const contents = [
      flat(1, 1, [120, 30, 90]),
      tile(37, 1, 1),
      tile(1, 19, 2),
      flat(9, 7, [180, 60, 140]),
      flat(9, 7, [255, 255, 255]),
    ];
    const jobs = contents.map((content) => ({ content, style, params: paramsOf(name) }));
    const results = await forms.restyler(name).restyle(jobs);
    for (const [index, { image, applied }] of results.entries()) {
      const { width, height, data } = contents[index]!;
      expect([image.width, image.height, image.data.length]).toEqual([width, height, data.length]);
      if (!applied) expect(levelsApart(image.data, data)).toBe(0);
    }
    // Of one colour nothing but one colour can be made.
    const [, , , one] = results;
    for (let at = 3; at < one!.image.data.length; at++) expect(one!.image.data[at]).toBe(one!.image.data[at % 3]);
    // Styles of one colour and of glass are no reason to fail either.
    const strange = [flat(5, 5, [200, 100, 150]), flat(5, 5, [255, 255, 255]), flat(1, 1, [0, 0, 0])];
    for (const odd of strange) {
      const [result] = await forms.restyler(name).restyle([{ content: tile(30, 30, 1), style: odd, params: paramsOf(name) }]);
      if (!result!.applied) expect(levelsApart(result!.image.data, tile(30, 30, 1).data)).toBe(0);
    }
  });

  it("blends by strength before it rounds, keeps bare glass where that is asked for, and skips blank images", async () => {
    const restyler = forms.restyler(name);
    const [content, style, params] = [tile(60, 40, 11), tile(50, 30, 12), paramsOf(name)];
    const blank = flat(20, 20, [243, 243, 243]);
    const [full, half, none] = await restyler.restyle([1, 0.5, 0].map((strength) => ({ content, style, params, strength })));
    expect(levelsApart(none!.image.data, content.data)).toBe(0);
    expect(none!.applied).toBe(true);
    const mean = content.data.map((level, at) => Math.floor((level + full!.image.data[at]!) / 2 + 0.5));
    expect(levelsApart(half!.image.data, mean)).toBeLessThanOrEqual(1);
    const [kept, skipped] = await restyler.restyle(
      [content, blank].map((image) => ({ content: image, style, params })),
      { background: "keep", skipBlank: true },
    );
    expect(levelsApart(kept!.image.data, keepBackground(content, full!.image).data)).toBeLessThanOrEqual(1);
    expect(kept!.applied).toBe(true);
    expect(skipped!.applied).toBe(false);
    expect(levelsApart(skipped!.image.data, blank.data)).toBe(0);
  });
});

describe("a batch", () => {
  it.each(CLOSED)(
    "of %s is one submission and one read-back, of as many writes and dispatches however large it is",
    async (name) => {
      const { device } = gpu();
      const style = tile(24, 24, 1);
      const seen = { writes: 0, submissions: 0, maps: 0, dispatches: 0 };
      const count = async (size: number) => {
        const jobs = Array.from({ length: size }, (_, seed) => ({ content: tile(24, 24, seed), style, params: paramsOf(name) }));
        const restyler = forms.restyler(name);
        // Once to compile and to make room.
        await restyler.restyle(jobs);
        Object.assign(seen, { writes: 0, submissions: 0, maps: 0, dispatches: 0 });
        const undo = watch(device, seen);
        await restyler.restyle(jobs);
        undo();
        return { ...seen };
      };
      const [few, many] = [await count(2), await count(16)];
      expect(few).toEqual(many);
      expect(many.submissions).toBe(1);
      expect(many.maps).toBe(1);
      expect(many.writes).toBeLessThanOrEqual(5);
      expect(many.dispatches).toBe(DISPATCHES[name]);
    },
  );

  it.runIf(SLOW)("that is larger than a submission may be is cut, with the same bits", async () => {
    const rows = tile(3000, 10, 1);
    const jobs = [2900, 2900, 2700].map((height) => {
      const data = new Uint8Array(3 * 3000 * height);
      for (let at = 0; at < data.length; at += rows.data.length) data.set(rows.data, at);
      return { content: { ...rows, data, height }, params: paramsOf("he-stain") };
    });
    const restyler = forms.restyler("he-stain");
    const seen = { writes: 0, submissions: 0, maps: 0, dispatches: 0 };
    const undo = watch(gpu().device, seen);
    const all = await restyler.restyle(jobs);
    undo();
    expect(seen.submissions).toBe(2);
    const [last] = await restyler.restyle([jobs[2]!]);
    expect(Buffer.compare(all[2]!.image.data, last!.image.data)).toBe(0);
  });

  it("gives results in shared memory where that is asked for, and takes contents from there", async () => {
    const content = tile(13, 9, 1);
    const lent = { ...content, data: new Uint8Array(new SharedArrayBuffer(content.data.length)) };
    lent.data.set(content.data);
    const params = paramsOf("he-stain");
    const [own] = await forms.restyler("he-stain").restyle([{ content, params }]);
    const [common] = await forms.restyler("he-stain").restyle([{ content: lent, params }], { shared: true });
    expect(common!.image.data.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(levelsApart(own!.image.data, common!.image.data)).toBe(0);
  });

  it("of none has no results", async () => {
    expect(await forms.restyler("colorist").restyle([])).toEqual([]);
  });
});

const DISPATCHES: Readonly<Record<string, number>> = {
  colorist: 3,
  "histogram-match": 3,
  reinhard: 4,
  "reinhard-modified": 4,
  randstainna: 4,
  "hed-jitter": 4,
  "he-stain": 1,
  "macenko-normalise": 19,
  "macenko-augment": 19,
  fda: 7,
};

interface Seen {
  writes: number;
  submissions: number;
  maps: number;
  dispatches: number;
}

/** Counts what goes to a device, until it is undone. */
function watch(device: GPUDevice, seen: Seen): () => void {
  const undo: (() => void)[] = [];
  const count = <T extends object>(on: T, name: keyof T & string, what: keyof Seen, proto = false) => {
    const owner = proto ? Object.getPrototypeOf(on) : on;
    const original = owner[name] as (...args: unknown[]) => unknown;
    owner[name] = function (this: unknown, ...args: unknown[]) {
      seen[what]++;
      return original.apply(proto ? this : on, args);
    };
    undo.push(() => {
      if (proto) owner[name] = original;
      else delete owner[name];
    });
  };
  const { queue } = device;
  count(queue, "writeBuffer", "writes");
  count(queue, "submit", "submissions");
  const buffer = device.createBuffer({ size: 16, usage: 1 });
  count(buffer, "mapAsync", "maps", true);
  const pass = device.createCommandEncoder().beginComputePass();
  count(pass, "dispatchWorkgroups", "dispatches", true);
  return () => {
    for (const one of undo) one();
    buffer.destroy();
  };
}

describe("colorist", () => {
  it("equals matchColour within a level, grey too", async () => {
    for (const channels of [1, 3] as const)
      for (const [seed, content] of [tile(50, 40, 1, channels), tile(1, 7, 2, channels)].entries()) {
        const style = tile(33, 21, 50 + seed, channels);
        const [result] = await forms.restyler("colorist").restyle([{ content, style, params: {} }]);
        expect(levelsApart(result!.image.data, matchColour(content, style).data)).toBeLessThanOrEqual(1);
      }
  });

  it("is right where one pixel alone is another colour", async () => {
    const content = flat(700, 700, [200, 100, 50]);
    content.data[0] = 210;
    const style = tile(64, 64, 3);
    const [result] = await forms.restyler("colorist").restyle([{ content, style, params: {} }]);
    expect(levelsApart(result!.image.data, matchColour(content, style).data)).toBeLessThanOrEqual(1);
  });
});

describe("numbers of a style", () => {
  it("are those of one image, and explicit ones win", async () => {
    const [content, style] = [tile(40, 40, 1), tile(30, 30, 2)];
    const restyler = forms.restyler("reinhard");
    const params = paramsOf("reinhard");
    const [whole] = await restyler.restyle([{ content, style, params }]);
    const [mixed] = await restyler.restyle([{ content, style, params: { ...params, targetMean: [50, 10, -10] } }]);
    expect(mixed!.params.targetMean).toEqual([50, 10, -10]);
    expect(mixed!.params.targetDeviation).toEqual(whole!.params.targetDeviation);
    expect(levelsApart(mixed!.image.data, whole!.image.data)).toBeGreaterThan(3);
  });

  it("of RandStainNA are fitted on a bank, as fitRandStainNA has them", async () => {
    const styles = [tile(40, 21, 3), tile(33, 64, 4), tile(20, 20, 5)];
    const table = await forms.fitRandStainNA(styles);
    expect(await fitRandStainNA(styles, { device: gpu().device })).toEqual(table);
    const restyler = forms.restyler("randstainna");
    using bank = await restyler.styleBank(styles);
    const content = tile(24, 24, 1);
    const params = methodNamed("randstainna").settle({}, draw);
    const [banked] = await restyler.restyle([{ content, style: 2, params }], { bank });
    const [tabled] = await restyler.restyle([{ content, params: methodNamed("randstainna").settle({ table }, draw) }]);
    expect(banked!.params).toEqual(tabled!.params);
    expect(banked!.image.data).toEqual(tabled!.image.data);
  });
});

describe("a lost device", () => {
  it("is replaced, and banks are computed again", async () => {
    const notes: string[] = [];
    await using own = await ClosedForms.open({ adapter: "software", onNote: (note) => notes.push(note) });
    const restyler = own.restyler("reinhard");
    const [content, styles] = [tile(20, 20, 1), [tile(20, 20, 2), tile(9, 30, 3)]];
    using bank = await restyler.styleBank(styles);
    const jobs = [{ content, style: 1, params: paramsOf("reinhard") }];
    const [before] = await restyler.restyle(jobs, { bank });
    const lost = own.device;
    lost.destroy();
    const [after] = await restyler.restyle(jobs, { bank });
    expect(own.device).not.toBe(lost);
    expect(after).toEqual(before);
    expect(notes).toEqual([expect.stringMatching(/the device was lost/)]);
  });
});

describe("bad input", () => {
  const refused = async (promise: Promise<unknown>, problem: RegExp) => {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StylizingError);
    expect((error as StylizingError).code).toBe("ARGUMENT");
    expect((error as StylizingError).message).toMatch(problem);
  };
  const content = tile(8, 8, 1);

  it("is refused with a cure", async () => {
    const restyle = (name: string, job: Partial<RestyleJob>) =>
      forms.restyler(name).restyle([{ content, params: paramsOf(name), ...job } as RestyleJob]);
    await refused(restyle("reinhard", {}), /needs a style/);
    await refused(restyle("reinhard", { style: 0 }), /there is no bank/);
    await refused(restyle("hed-jitter", { strength: 1.5 }), /strength of 1\.5/);
    await refused(restyle("hed-jitter", { strength: Number.NaN }), /strength of NaN/);
    await refused(
      restyle("hed-jitter", { params: { scale: [1, 1], shift: [0, 0, 0] } }),
      /scale is \[1,1\], and takes 3 numbers/,
    );
    await refused(restyle("hed-jitter", { content: tile(8, 8, 1, 1) }), /is of colours/);
    await refused(restyle("colorist", { style: tile(8, 8, 1, 1) }), /3 channels and its style 1/);
    await refused(restyle("he-stain", { content: { ...content, width: 9 } }), /9/);
    await refused(forms.restyler("fda").styleBank([]), /no styles/);
    using bank = await forms.restyler("fda").styleBank([content]);
    await refused(
      forms.restyler("fda").restyle([{ content, style: 1, params: { beta: 0.1 } }], { bank }),
      /names style 1, and the bank has 1/,
    );
    const other = await ClosedForms.open({ device: gpu().device });
    await refused(other.restyler("fda").restyle([{ content, style: 0, params: { beta: 0.1 } }], { bank }), /another restyler/);
    other.dispose();
    expect(() => forms.restyler("stylizing-vit")).toThrow(/no closed form/);
  });

  it("of an image or a band that is larger than a device takes is said before anything is uploaded", () => {
    checkFits(flat(100, 10, [1, 2, 3]), 3000);
    expect(() => checkFits(flat(100, 10, [1, 2, 3]), 2999)).toThrow(/100 × 10 takes 3000 bytes, and this device takes 2999/);
    // Rows of results fill four pixels.
    expect(() => checkFits(flat(1, 100, [1, 2, 3]), 1199)).toThrow(/takes 1200 bytes/);
    expect(() => checkFits(flat(100, 100, [1, 2, 3]), 1e5, 49)).toThrow(/band of 99 frequencies .*smaller beta/);
  });

  it("aborted calls have the signal's reason, and disposed restylers say so", async () => {
    const reason = new Error("enough");
    const call = forms
      .restyler("he-stain")
      .restyle([{ content, params: paramsOf("he-stain") }], { signal: AbortSignal.abort(reason) });
    await expect(call).rejects.toBe(reason);
    const other = await ClosedForms.open({ device: gpu().device });
    other.dispose();
    other.dispose();
    await expect(other.restyler("he-stain").restyle([])).rejects.toMatchObject({ code: "DISPOSED" });
  });
});
