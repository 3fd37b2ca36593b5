import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { AugmentItem } from "../../src/augment/augmenter.js";
import { Batcher, type BatcherOptions } from "../../src/serve/batcher.js";

const content = { data: new Uint8Array(3), width: 1, height: 1, channels: 3 } as const;
const items = (...keys: string[]): AugmentItem[] => keys.map((key) => ({ key, epoch: 1, content }));

/** A batcher over a device that does what it is told when `finish` is called, and says what it was handed. */
function made(options: Partial<BatcherOptions> = {}) {
  const batches: string[][] = [];
  const under: (() => void)[] = [];
  const batcher = new Batcher({
    ...{ batch: 4, deadlineMs: 1e6, queueImages: 16 },
    restyle: async (some) => {
      batches.push(some.map(({ key }) => key));
      await new Promise<void>((resolve) => under.push(resolve));
      return some.map(({ key, content: image }) =>
        key.startsWith("bad")
          ? { key, error: { code: "ARGUMENT", message: "It is bad. Mend it.", fix: "Mend it." } }
          : { key, image, ops: [] },
      );
    },
    ...options,
  });
  const finish = async () => {
    under.shift()!();
    await delay(0);
  };
  return { batcher, batches, finish };
}

const [ann, ben, cid] = [{}, {}, {}];
const keysOf = (done: readonly { key: string }[]) => done.map(({ key }) => key);

describe("the batcher", () => {
  it("waits for no one where there is one client", async () => {
    const { batcher, batches, finish } = made();
    const one = batcher.submit(items("a"), ann);
    expect(batches).toEqual([["a"]]);
    await finish();
    expect(keysOf(await one)).toEqual(["a"]);
  });

  it("puts clients' images together while it waits for those that it knows, first come, first served", async () => {
    const { batcher, batches, finish } = made();
    const first = [batcher.submit(items("a1"), ann), batcher.submit(items("b1"), ben), batcher.submit(items("c1"), cid)];
    await finish();
    // The device was busy with Ann's; the two others, whom nobody knew, waited for her and each other.
    expect(batches).toEqual([["a1"]]);
    const again = batcher.submit(items("a2"), ann);
    expect(batches[1]).toEqual(["b1", "c1", "a2"]);
    await finish();
    expect((await Promise.all([...first, again])).map(keysOf)).toEqual([["a1"], ["b1"], ["c1"], ["a2"]]);
    void batcher.submit(items("b2", "b3"), ben);
    void batcher.submit(items("a3", "a4", "a5"), ann);
    expect(batches[2]).toEqual(["b2", "b3", "a3", "a4"]);
    void batcher.submit(items("c2"), cid);
    await finish();
    expect(batches).toHaveLength(3);
    void batcher.submit(items("b4"), ben);
    expect(batches[3]).toEqual(["a5", "c2", "b4"]);
  });

  it("goes when the deadline has passed, or when the one that is waited for has gone", async () => {
    const { batcher, batches, finish } = made({ deadlineMs: 30 });
    void batcher.submit(items("a1"), ann);
    await finish();
    void batcher.submit(items("b1"), ben);
    expect(batches).toHaveLength(1);
    await delay(60);
    expect(batches[1]).toEqual(["b1"]);
    await finish();
    const patient = made();
    void patient.batcher.submit(items("a1"), ann);
    await patient.finish();
    void patient.batcher.submit(items("b1"), ben);
    expect(patient.batches).toHaveLength(1);
    patient.batcher.forget(ann);
    expect(patient.batches[1]).toEqual(["b1"]);
  });

  it("waits for those who have just had their answers, however long others have waited behind them", async () => {
    const { batcher, batches, finish } = made({ deadlineMs: 200 });
    const first = batcher.submit(items("a1", "a2"), ann);
    void batcher.submit(items("b1", "b2"), ben);
    await delay(250);
    await finish();
    await first;
    expect(batches).toHaveLength(1);
    void batcher.submit(items("a3", "a4"), ann);
    expect(batches[1]).toEqual(["b1", "b2", "a3", "a4"]);
    await finish();
  });

  it("cuts a large request, and gives its results in order", async () => {
    const { batcher, batches, finish } = made();
    const names = Array.from({ length: 10 }, (_, index) => `a${index}`);
    const all = batcher.submit(items(...names), ann);
    for (let i = 0; i < 3; i++) await finish();
    expect(batches.map(({ length }) => length)).toEqual([4, 4, 2]);
    expect(keysOf(await all)).toEqual(names);
  });

  it("drops what is not begun when its client hangs up", async () => {
    const { batcher, batches, finish } = made();
    const [busy, controller] = [batcher.submit(items("a"), ann), new AbortController()];
    const dropped = batcher.submit(items("b1", "b2"), ben, controller.signal);
    controller.abort(new Error("gone"));
    await expect(dropped).rejects.toThrow("gone");
    expect(batcher.waiting).toBe(0);
    await finish();
    await busy;
    expect(batches).toEqual([["a"]]);
  });

  it("fails a request whose image fails, and no other one", async () => {
    const { batcher, finish } = made();
    void batcher.submit(items("x"), cid);
    const bad = batcher.submit(items("bad", "a2", "a3", "a4", "a5"), ann);
    const good = batcher.submit(items("b"), ben);
    const settled = Promise.allSettled([bad, good]);
    await finish();
    await finish();
    batcher.forget(cid);
    batcher.forget(ann);
    await finish();
    const [one, other] = await settled;
    expect(one).toMatchObject({ status: "rejected", reason: { code: "ARGUMENT", message: "bad: It is bad. Mend it." } });
    expect(other).toMatchObject({ status: "fulfilled", value: [{ key: "b" }] });
    expect(batcher.waiting).toBe(0);
  });

  it("fails a batch whose device is lost, and goes on with the next one", async () => {
    let lost = true;
    const { batcher } = made({
      restyle: async (some) => {
        if (lost) throw new Error("lost");
        return some.map(({ key, content: image }) => ({ key, image, ops: [] }));
      },
    });
    await expect(batcher.submit(items("a"), ann)).rejects.toThrow("lost");
    lost = false;
    expect(keysOf(await batcher.submit(items("a"), ann))).toEqual(["a"]);
  });

  it("refuses what it has no room for, and says when to come again", async () => {
    const { batcher, finish } = made({ queueImages: 6 });
    void batcher.submit(items("a1", "a2", "a3", "a4"), ann);
    void batcher.submit(items("b1", "b2", "b3", "b4"), ben);
    expect(batcher.waiting).toBe(4);
    const refusal = (count: number) => {
      try {
        void batcher.submit(items(...Array.from({ length: count }, (_, index) => `c${index}`)), cid);
      } catch (error) {
        return error;
      }
      return undefined;
    };
    expect(refusal(3)).toMatchObject({ status: 429, code: "BUSY", retryAfter: 1 });
    expect(refusal(7)).toMatchObject({ status: 413, code: "TOO_LARGE" });
    expect(refusal(2)).toBeUndefined();
    await finish();
    expect(batcher.waiting).toBe(2);
  });
});
