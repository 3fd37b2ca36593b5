// Writes a data set in all formats, group by group, in a process of its own, to be killed: node child.mjs IN OUT. Goes on where it was.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createWriter, DATA_FORMATS, openDataSet } from "../../dist/datasets/open.js";

const [input, out] = process.argv.slice(2);
const GROUP = 2;
const state = join(out, "state");
let done = existsSync(state) ? Number(readFileSync(state, "utf8")) : 0;

const set = await openDataSet(input);
const writers = await Promise.all(DATA_FORMATS.map((format) => createWriter(format, join(out, format), { like: set })));
process.stdout.write("ready\n");
let samples = [];
const flush = async () => {
  const outputs = samples.flatMap((sample) => [
    { sample, copy: 0 },
    { sample, copy: 1, image: { bytes: sample.image.bytes, ending: "png" } },
  ]);
  for (const writer of writers) await writer.write(done, outputs);
  samples = [];
  writeFileSync(`${state}.new`, String(++done));
  renameSync(`${state}.new`, state);
};
for await (const sample of set.samples({ from: done * GROUP })) {
  samples.push(sample);
  if (samples.length === GROUP) await flush();
}
if (samples.length > 0) await flush();
for (const writer of writers) await writer.finish(done);
