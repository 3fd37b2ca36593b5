// One side of `--against`: a process that knows one build of the library, by the folder of its `dist`, and paints when it is
// told to. It uses nothing but the public surface, so that it runs what any commit built, and imports nothing of its own checkout.
//
//   node against-child.mjs DIST paint|cold JSON      JSON: `ChildRequest` of against.ts
//
// A line of JSON comes out when it has painted once, `ChildHello`; then every line that goes in, `{ "do": "pair" | "javascript",
// "calls": N }`, is answered by `{ "ok": [milliseconds, ...] }`. While it waits no promise of Dawn's is open, for which its
// binding would spin a core that the other side is being timed on.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [dist, mode, request] = process.argv.slice(2);
const { model, options, batch, adapter, precision } = JSON.parse(request);
const { StylizingViT } = await import(pathToFileURL(join(dist, "index.js")).href);
const vit = await StylizingViT.load(model, { ...options, adapter, precision, batchSize: batch, workers: 0 });

/** Drawn here and not by the library, whose own images may differ from commit to commit. */
function image(seed) {
  const { image_size: size, in_channels: channels } = vit.config;
  const data = new Uint8Array(size * size * channels);
  for (let at = 0; at < data.length; at++) {
    const [c, x, y] = [at % channels, Math.floor(at / channels) % size, Math.floor(at / channels / size)];
    data[at] = (x * (seed + 2) + y * (2 * seed + 1) + ((x * y) >> 4) + 60 * c) & 255;
  }
  return { data, width: size, height: size, channels };
}

const contents = Array.from({ length: batch }, (_, i) => image(2 * i));
const styles = Array.from({ length: batch }, (_, i) => image(2 * i + 1));
const bytes = (images) => Buffer.concat(images.map(({ data }) => data));
const say = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);
const first = bytes(await vit.stylize(contents, styles));

const ways = {
  async pair() {
    const start = performance.now();
    await vit.stylize(contents, styles);
    return performance.now() - start;
  },
  /** JavaScript time of a batch, as the stream of that one batch has it. */
  async javascript() {
    const pairs = contents.map((content, i) => ({ content, style: styles[i] }));
    for await (const { images, timing } of vit.stream(pairs, { batchSize: batch })) {
      if (!bytes(images).equals(first)) throw new Error("the stream paints other images than stylize() does");
      if (timing?.host === undefined) throw new Error("one of the two builds has a stream without timing.host");
      return timing.host;
    }
    throw new Error("the stream gave no batch");
  },
};

const { adapter: found, tier } = vit.report;
say({ name: found.name, device: found.driver, tier, pixels: first.toString("base64") });

if (mode === "paint") {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const { do: what, calls } = JSON.parse(line);
      const times = [];
      while (times.length < calls) times.push(await ways[what]());
      say({ ok: times });
    } catch (error) {
      say({ error: error.message });
    }
  }
}
await vit[Symbol.asyncDispose]();
