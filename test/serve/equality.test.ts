import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { Augmenter } from "../../src/augment/augmenter.js";
import { encodeImage } from "../../src/image/encode.js";
import type { Service } from "../../src/serve/service.js";
import { micro } from "../command/command.js";
import { temporaryFolder } from "../image/helpers.js";
import { ask, each, errorOf, type Images, images, keys, open, RAW, rawPath, restyle, SAFETENSORS, tensors } from "./service.js";

const CHOICES = {
  method: "reinhard,hed-jitter,colorist",
  p: 0.8,
  seed: 5,
  strength: [0.5, 1],
  load: { adapter: "software" },
  workers: 0,
} as const;
const COUNT = 12;
const tiles = images(COUNT, 24, 1);
const rolled: Images = {
  ...tiles,
  data: Buffer.concat([tiles.data.subarray(-24 * 24 * 3), tiles.data.subarray(0, -24 * 24 * 3)]),
};

let service: Service;
let augmenter: Augmenter;
beforeAll(async () => {
  service = await open({ ...CHOICES, batch: 5 });
  augmenter = await Augmenter.open(CHOICES);
  return () => augmenter[Symbol.asyncDispose]();
});

/** One array of what an augmenter gives. */
const joined = (results: readonly { image: { data: Uint8Array } }[]) =>
  Uint8Array.from(Buffer.concat(results.map(({ image }) => image.data)));

describe("the service and the Augmenter", () => {
  it("give the same bytes and records, of any batch and any split of it", async () => {
    const expected = await augmenter.apply(each(tiles), keys(COUNT), 3, { styles: each(rolled) });
    const given = await restyle(service.url, { images: tiles, styles: rolled }, keys(COUNT), { epoch: "3" });
    expect(given.images.shape).toEqual([COUNT, 24, 24, 3]);
    expect(given.images.data).toEqual(joined(expected));
    expect(given.ops).toEqual(expected.map(({ ops }) => ops));
    expect(given.images.data).not.toEqual(tiles.data);
    const some = (from: number, { data }: Images): Images => ({
      shape: [4, 24, 24, 3],
      data: data.slice(from * 1728, (from + 4) * 1728),
    });
    const parts = await Promise.all(
      [0, 4, 8].map((from) =>
        restyle(service.url, { images: some(from, tiles), styles: some(from, rolled) }, keys(COUNT).slice(from, from + 4), {
          epoch: "3",
        }),
      ),
    );
    expect(Uint8Array.from(Buffer.concat(parts.map((part) => part.images.data)))).toEqual(given.images.data);
  });

  it("take what a request asks for: method, numbers, portion, strength, crop, seed", async () => {
    const asked = { method: "colorist", portion: 0.6, strength: [0.2, 0.9], styleCrop: true, seed: 99 } as const;
    await using own = await Augmenter.open({ ...asked, load: CHOICES.load, workers: 0 });
    const expected = await own.apply(each(tiles), keys(COUNT), 1, { styles: each(rolled) });
    const query = { method: "colorist", portion: ".6", strength: ".2:.9", "style-crop": "true", seed: "99" };
    const given = await restyle(service.url, { images: tiles, styles: rolled }, keys(COUNT), query);
    expect(given.ops).toEqual(expected.map(({ ops }) => ops));
    expect(given.images.data).toEqual(joined(expected));
    expect(given.ops.some((ops) => (ops as unknown[]).length === 0)).toBe(true);
    const params = { targetMean: [0.5, 0.25, 0.75], targetDeviation: [0.1, 0.1, 0.1] };
    const numbers = await restyle(service.url, { images: tiles }, keys(COUNT), {
      method: "colorist",
      p: "1",
      strength: "1",
      params: JSON.stringify(params),
    });
    expect(numbers.ops[0]).toMatchObject([{ op: "colorist", params, applied: true }]);
  });

  it("take raw bytes and give them, and records where they are asked for", async () => {
    const path = rawPath(tiles.shape, keys(COUNT), { method: "hed-jitter", p: "1" });
    const plain = await ask(service.url, path, { headers: { "content-type": RAW }, body: tiles.data });
    expect(plain.headers).toMatchObject({
      "content-type": RAW,
      shape: "12,24,24,3",
      "content-length": String(tiles.data.length),
    });
    await using own = await Augmenter.open({ ...CHOICES, method: "hed-jitter", p: 1 });
    const expected = await own.apply(each(tiles), keys(COUNT));
    expect(Uint8Array.from(plain.body)).toEqual(joined(expected));
    const given = await restyle(service.url, { images: tiles }, keys(COUNT), { method: "hed-jitter", p: "1" });
    expect(given.images.data).toEqual(Uint8Array.from(plain.body));
    const asked = await ask(service.url, path, { headers: { "content-type": RAW, accept: SAFETENSORS }, body: tiles.data });
    expect(asked.headers["content-type"]).toBe(SAFETENSORS);
    expect(asked.body.subarray(-tiles.data.length)).toEqual(plain.body);
  });

  it("draw from named styles as from files in that order", async () => {
    const folder = temporaryFolder();
    const looks = each(images(3, 20, 7));
    const style = [];
    for (const [index, look] of looks.entries()) {
      style.push(join(folder, `s${index}.png`));
      writeFileSync(style[index]!, await encodeImage(look, { format: "png" }));
      const body = index === 0 ? Buffer.from(look.data) : tensors({ image: { shape: [20, 20, 3], data: look.data } });
      const headers = { "content-type": index === 0 ? RAW : SAFETENSORS };
      const put = () => ask(service.url, `/v1/styles/s${index}${index === 0 ? "?shape=20,20,3" : ""}`, { headers, body });
      const [first, again] = [await put(), await put()];
      expect([first.status, again.status]).toEqual([201, 200]);
      expect(JSON.parse(first.body.toString())).toMatchObject({ name: `s${index}`, shape: [20, 20, 3] });
    }
    await using own = await Augmenter.open({ ...CHOICES, method: "colorist", style });
    const expected = await own.apply(each(tiles), keys(COUNT), 2);
    const given = await restyle(service.url, { images: tiles }, keys(COUNT), {
      method: "colorist",
      styles: "s0,s1,s2",
      epoch: "2",
    });
    expect(given.images.data).toEqual(joined(expected));
    const drawn = new Set((given.ops as { style: { key: string } }[][]).flatMap((ops) => ops.map((op) => op.style.key)));
    expect([...drawn].sort()).toEqual(["s0", "s1", "s2"]);

    const other = await ask(service.url, "/v1/styles/s1?shape=1,1,3", {
      headers: { "content-type": RAW },
      body: new Uint8Array(3),
    });
    expect(errorOf(other)).toMatchObject({ status: 409, code: "CONFLICT" });
    expect((await ask(service.url, "/v1/styles/s1", { method: "DELETE" })).status).toBe(204);
    expect(errorOf(await ask(service.url, "/v1/styles/s1", { method: "DELETE" }))).toMatchObject({
      status: 404,
      code: "NOT_FOUND",
    });
    const path = rawPath(tiles.shape, keys(COUNT), { styles: "s0,s1" });
    const missing = await ask(service.url, path, { headers: { "content-type": RAW }, body: tiles.data });
    expect(errorOf(missing)).toMatchObject({ status: 404, message: expect.stringContaining('no style "s1"') });
  });

  it("draw from the files that the service was started with, and measure its table on them", async () => {
    const folder = temporaryFolder();
    for (const [index, look] of each(images(3, 20, 11)).entries())
      writeFileSync(join(folder, `${index}.png`), await encodeImage(look, { format: "png" }));
    const choices = { ...CHOICES, method: "randstainna,reinhard", style: [folder] };
    const started = await open(choices);
    await using own = await Augmenter.open(choices);
    const expected = await own.apply(each(tiles), keys(COUNT), 4);
    const given = await restyle(started.url, { images: tiles }, keys(COUNT), { epoch: "4" });
    expect(given.images.data).toEqual(joined(expected));
    expect(given.ops).toEqual(expected.map(({ ops }) => ops));
    expect(new Set((given.ops as { op: string }[][]).flatMap((ops) => ops.map(({ op }) => op)))).toEqual(
      new Set(["randstainna", "reinhard"]),
    );
  });

  it("restyle grey images", async () => {
    const grey = images(3, 16, 3, 1);
    const given = await restyle(service.url, { images: grey, styles: grey }, keys(3), { method: "histogram-match" });
    expect(given.images.shape).toEqual([3, 16, 16, 1]);
    await using own = await Augmenter.open({ ...CHOICES, method: "histogram-match" });
    expect(given.images.data).toEqual(joined(await own.apply(each(grey), keys(3), 1, { styles: each(grey) })));
  });
});

it("the model gives the same bytes in the service as in process", async () => {
  const [, model, , config] = micro() as [string, string, string, string];
  const choices = { method: "stylizing-vit", model, load: { adapter: "software", config }, workers: 0, seed: 2 } as const;
  const served = await open({ ...choices, batch: 4 });
  await using own = await Augmenter.open(choices);
  const [some, looks] = [images(6, 40, 4), images(6, 32, 9)];
  const expected = await own.apply(each(some), keys(6), 1, { styles: each(looks) });
  const given = await restyle(served.url, { images: some, styles: looks }, keys(6));
  expect(given.images.data).toEqual(joined(expected));
  expect(given.ops).toEqual(expected.map(({ ops }) => ops));
  const closed = await restyle(served.url, { images: some, styles: looks }, keys(6), { method: "colorist" });
  expect(closed.ops[0]).toMatchObject([{ op: "colorist" }]);
});
