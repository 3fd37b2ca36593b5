// Copies a data set, each sample twice, and says how much memory that took: node memory.mjs IN FORMAT OUT. Bytes of the process after a
// tenth of it and the most after that, as JSON.
import { createWriter, openDataSet } from "../../dist/datasets/open.js";

const [input, format, out] = process.argv.slice(2);
const GROUP = 512;
let [settled, most] = [0, 0];
const measure = () => {
  most = Math.max(most, process.memoryUsage.rss());
};
const set = await openDataSet(input);
const writer = await createWriter(format, out, { like: set });
let [group, samples, done] = [0, [], 0];
const flush = async () => {
  await writer.write(group++, samples.flatMap((sample) => [1, 2].map((copy) => ({ sample, copy, image: sample.image })))); // biome-ignore format: one call
  samples = [];
  measure();
};
for await (const sample of set.samples()) {
  samples.push(sample);
  if (samples.length === GROUP) await flush();
  if (++done === Math.floor(set.count / 10)) [settled, most] = [process.memoryUsage.rss(), 0];
}
if (samples.length > 0) await flush();
const timer = setInterval(measure, 20);
await writer.finish(group);
await set[Symbol.asyncDispose]();
const again = await openDataSet(process.argv[5]);
for await (const _ of again.keys()) if (++done % 1000 === 0) measure();
clearInterval(timer);
process.stdout.write(JSON.stringify({ settled, most, count: again.count }));
