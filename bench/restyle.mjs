// Images a second of every closed form, pixels in to pixels out, beside torchstain's formulas in numpy and matchColour, both on the CPU.
//   npm run build && node bench/restyle.mjs [--sizes 224,512] [--batch 16] [--seconds 2] [--methods NAME,...] [--adapter auto|hardware|software]
//     [--python /usr/bin/python3] [--json FILE]
// Images are tissue that this project draws; styles are in a bank. Uses the public library alone. Nothing is timed that was not checked first: colorist
// against matchColour, within a level.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ClosedForms, HOSPITALS, METHODS, matchColour, methodNamed, paintTissue } from "../dist/index.js";

const { values: given } = parseArgs({
  options: {
    sizes: { type: "string", default: "224,512" },
    batch: { type: "string", default: "16" },
    seconds: { type: "string", default: "2" },
    methods: { type: "string" },
    adapter: { type: "string", default: "auto" },
    python: { type: "string", default: "/usr/bin/python3" },
    json: { type: "string" },
  },
});
const sizes = given.sizes.split(",").map(Number);
const [batch, seconds] = [Number(given.batch), Number(given.seconds)];
const names = given.methods?.split(",") ?? METHODS.map(({ name }) => name).filter((name) => name !== "stylizing-vit");

const forms = await ClosedForms.open({ adapter: given.adapter });
const draws = (index) => ((index + 1) * 0.618034) % 1;
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Images a second of calls of `each` images, by the median call. */
async function rate(each, call) {
  await call();
  const times = [];
  for (let spent = 0; spent < 1000 * seconds || times.length < 3; ) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
    spent += times.at(-1);
  }
  return (1000 * each) / median(times);
}

/** What numpy does in a process of its own; undefined where there is none. */
function numpy(images, side) {
  const folder = mkdtempSync(join(tmpdir(), "restyle-"));
  try {
    const files = images.map(({ data }, index) => {
      const file = join(folder, `${index}.rgb`);
      writeFileSync(file, data);
      return file;
    });
    const rival = fileURLToPath(new URL("restyle_rival.py", import.meta.url));
    return JSON.parse(
      execFileSync(given.python, [rival], { input: JSON.stringify({ files, side, seconds }), stdio: ["pipe", "pipe", "ignore"] }),
    );
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const tiles = (side) =>
  Array.from({ length: batch + 1 }, (_, seed) => {
    const { data, width, height } = paintTissue({ seed, size: side, hospital: HOSPITALS[seed % HOSPITALS.length] });
    return { data, width, height, channels: 3 };
  });

const rows = [];
for (const side of sizes) {
  const images = tiles(side);
  const [contents, style] = [images.slice(0, batch), images[batch]];
  const [checked] = await forms.restyler("colorist").restyle([{ content: contents[0], style, params: {} }]);
  const wanted = matchColour(contents[0], style);
  if (!checked.image.data.every((level, at) => Math.abs(level - wanted.data[at]) <= 1))
    throw new Error("colorist is wrong on this adapter");
  const cpu = numpy(images, side);
  const match = await rate(batch, () => contents.map((content) => matchColour(content, style)));
  for (const name of names) {
    const restyler = forms.restyler(name);
    const bank = methodNamed(name).needsStyle({}) ? await restyler.styleBank([style]) : undefined;
    const params = methodNamed(name).settle({}, draws);
    const jobs = contents.map((content) => ({ content, params, style: bank ? 0 : undefined }));
    const ours = await rate(batch, () => restyler.restyle(jobs, { bank }));
    bank?.[Symbol.dispose]();
    rows.push({
      method: name,
      side,
      batch,
      imagesPerSecond: ours,
      numpy: cpu?.[name],
      matchColour: name === "colorist" ? match : undefined,
    });
  }
}
const { adapter } = forms.report;
forms.dispose();

const shown = (value) => (value === undefined ? "" : value.toPrecision(3));
console.log(`${adapter}, ${batch} images a batch; images a second\n`);
console.log("| method | pixels | ours | torchstain's formulas, numpy | matchColour, CPU |\n|---|---|---|---|---|");
for (const { method, side, imagesPerSecond, numpy: rival, matchColour: match } of rows)
  console.log(`| ${method} | ${side} | ${shown(imagesPerSecond)} | ${shown(rival)} | ${shown(match)} |`);
if (given.json) writeFileSync(given.json, `${JSON.stringify({ adapter, batch, seconds, rows }, null, 2)}\n`);
