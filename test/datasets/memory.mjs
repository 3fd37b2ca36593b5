// Copies a data set, each sample twice, reads the keys of what was written, and says how much memory that took at most, in bytes of
// the process, as JSON: node memory.mjs IN FORMAT OUT WRITTEN.
import { createWriter, openDataSet } from "../../dist/datasets/open.js";

const [input, format, out, written] = process.argv.slice(2);
const GROUP = 512;
let most = 0;
const measure = () => {
  most = Math.max(most, process.memoryUsage.rss());
};
const set = await openDataSet(input);
const writer = await createWriter(format, out, { like: set });
let [group, samples, read] = [0, [], 0];
const flush = async () => {
  await writer.write(group++, samples.flatMap((sample) => [1, 2].map((copy) => ({ sample, copy, image: sample.image })))); // biome-ignore format: one call
  samples = [];
  measure();
};
for await (const sample of set.samples()) {
  samples.push(sample);
  if (samples.length === GROUP) await flush();
}
if (samples.length > 0) await flush();
const timer = setInterval(measure, 20);
await writer.finish(group);
await set[Symbol.asyncDispose]();
const again = await openDataSet(written);
for await (const _ of again.keys()) if (++read % 1000 === 0) measure();
clearInterval(timer);
process.stdout.write(JSON.stringify({ most, count: again.count }));
