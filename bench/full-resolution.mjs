// What guided detail keeps and what it costs: results at the contents' own size, beside the enlarged painting and the closed-form match.
//   npm run build && node bench/full-resolution.mjs FOLDER [--model NAME] [--pairs N] [--sizes 224,512,1024,2048] [--repeat N]
//     [--adapter auto|hardware|software] [--json FILE]
// FOLDER holds images of any size; pairs are spread over them. Uses the public library alone.
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { matchColour, StylizingViT, ssim } from "../dist/index.js";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "demo" },
    pairs: { type: "string", default: "100" },
    sizes: { type: "string", default: "224,512,1024,2048" },
    repeat: { type: "string", default: "7" },
    adapter: { type: "string", default: "auto" },
    json: { type: "string" },
  },
});
const [folder] = positionals;
if (!folder) throw new Error("name a folder of images");
const sizes = given.sizes.split(",").map(Number);
const [most, repeat] = [Number(given.pairs), Number(given.repeat)];

async function read(file, size) {
  let image = sharp(file).removeAlpha().toColourspace("srgb");
  if (size) image = image.resize(size, size, { fit: "fill" });
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), width: info.width, height: info.height, channels: info.channels };
}

const grey = ({ data, width, height }) =>
  Float64Array.from(
    { length: width * height },
    (_, i) => 0.299 * data[3 * i] + 0.587 * data[3 * i + 1] + 0.114 * data[3 * i + 2],
  );

/** As a grey image of bytes: similarity is that of structure, and colours are meant to change. */
const luma = (image) => ({ ...image, data: Uint8Array.from(grey(image), Math.round), channels: 1 });

/** An image without its means over 9 × 9, inside the border. */
function fineDetail(image) {
  const { width, height } = image;
  const values = grey(image);
  const sums = new Float64Array((width + 1) * (height + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      sums[(y + 1) * (width + 1) + x + 1] =
        values[y * width + x] + sums[y * (width + 1) + x + 1] + sums[(y + 1) * (width + 1) + x] - sums[y * (width + 1) + x];
  const at = (y, x) => sums[y * (width + 1) + x];
  const fine = [];
  for (let y = 4; y < height - 4; y++)
    for (let x = 4; x < width - 4; x++)
      fine.push(values[y * width + x] - (at(y + 5, x + 5) - at(y - 4, x + 5) - at(y + 5, x - 4) + at(y - 4, x - 4)) / 81);
  return fine;
}

function correlation(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb || 1);
}

const meanColour = ({ data }) =>
  [0, 1, 2].map((c) => data.reduce((sum, level, i) => (i % 3 === c ? sum + level : sum), 0) / (data.length / 3));

/** How far the mean colour went towards the style's: the part of the way, 1 all of it. */
function wayOf(content, style, result) {
  const [from, to, at] = [content, style, result].map(meanColour);
  const whole = to.map((value, c) => value - from[c]);
  const length = whole.reduce((sum, value) => sum + value * value, 0);
  return length < 1 ? undefined : whole.reduce((sum, value, c) => sum + value * (at[c] - from[c]), 0) / length;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

const files = readdirSync(folder, { recursive: true })
  .map((name) => join(folder, String(name)))
  .filter((file) => /\.(png|jpe?g|tiff?|webp)$/i.test(file))
  .sort();
const model = await StylizingViT.load(given.model, { adapter: given.adapter, tune: "off" });
const { adapter, tier } = model.report;
console.log(`${model.report.model} on ${adapter.name}, ${tier}; ${files.length} images\n`);

const ways = {
  "model, enlarged": (content, style) => model.stylize(content, style, { size: "keep", detail: "model" }),
  guided: (content, style) => model.stylize(content, style, { size: "keep", background: "paint" }),
  "guided, background kept": (content, style) => model.stylize(content, style, { size: "keep", background: "keep" }),
  "closed-form match": (content, style) => matchColour(content, style),
};
const kept = Object.fromEntries(Object.keys(ways).map((name) => [name, { ssim: [], detail: [], way: [] }]));
const count = Math.min(most, files.length * (files.length - 1));
for (let at = 0; at < count; at++) {
  const round = Math.floor(at / files.length);
  const shift = 1 + Math.floor(((round + 0.5) * (files.length - 1)) / Math.ceil(count / files.length));
  const [content, style] = [await read(files[at % files.length]), await read(files[(at + shift) % files.length])];
  const detail = fineDetail(content);
  for (const [name, paint] of Object.entries(ways)) {
    const result = await paint(content, style);
    kept[name].ssim.push(ssim(luma(content), luma(result)));
    kept[name].detail.push(correlation(detail, fineDetail(result)));
    const way = wayOf(content, style, result);
    if (way !== undefined) kept[name].way.push(way);
  }
}
const quality = Object.fromEntries(
  Object.entries(kept).map(([name, values]) => [
    name,
    Object.fromEntries(Object.entries(values).map(([key, of]) => [key, mean(of)])),
  ]),
);
console.log(`| ${count} pairs | SSIM to the content | correlation of fine detail | way of the mean colour |`);
console.log("|---|---|---|---|");
for (const [name, { ssim, detail, way }] of Object.entries(quality))
  console.log(`| ${name} | ${ssim.toFixed(3)} | ${detail.toFixed(3)} | ${way.toFixed(3)} |`);

console.log(`\nOne pair, median of ${repeat} in turns, in milliseconds; in brackets what is added to the model's own time.\n`);
console.log("| content | model's square | guided | guided, background kept |");
console.log("|---|---|---|---|");
const cost = [];
for (const size of sizes) {
  const [content, style] = [await read(files[0], size), await read(files[files.length - 1], model.config.image_size)];
  const runs = {
    model: () => model.stylize(content, style),
    guided: () => model.stylize(content, style, { size: "keep", background: "paint" }),
    kept: () => model.stylize(content, style, { size: "keep", background: "keep" }),
  };
  const times = { model: [], guided: [], kept: [] };
  for (let turn = -1; turn < repeat; turn++)
    for (const [name, run] of Object.entries(runs)) {
      const start = performance.now();
      await run();
      // The first turn compiles.
      if (turn >= 0) times[name].push(performance.now() - start);
    }
  const more = (name) => median(times[name].map((time, i) => time / times.model[i])) - 1;
  const row = {
    size,
    model: median(times.model),
    guided: median(times.guided),
    kept: median(times.kept),
    moreGuided: more("guided"),
    moreKept: more("kept"),
  };
  cost.push(row);
  console.log(
    `| ${size} × ${size} | ${row.model.toFixed(0)} | ${row.guided.toFixed(0)} (${Math.round(100 * row.moreGuided)} %) | ${row.kept.toFixed(0)} (${Math.round(100 * row.moreKept)} %) |`,
  );
}
if (given.json) {
  const date = new Date().toISOString();
  writeFileSync(
    given.json,
    `${JSON.stringify({ schemaVersion: 1, date, report: model.report, images: files.length, pairs: count, quality, cost }, null, 2)}\n`,
  );
}
model.dispose();
