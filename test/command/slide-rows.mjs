// Paints a slide that is drawn by rows and was never a file, with all but the model: `node slide-rows.mjs WIDTH HEIGHT FOLDER`. Prints its largest
// memory in bytes, and how long it took.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { resizeRows } from "../../dist/image/resize.js";
import { SlideWriter } from "../../dist/image/slide-writer.js";
import { reusedBytes } from "../../dist/image/types.js";
import { paintLarge } from "../../dist/painter/large.js";

const [width, height] = process.argv.slice(2, 4).map(Number);
const folder = process.argv[4];
const stride = width * 3;

/** Waves of pink, of which a row is another's moved along. */
const pattern = Uint8Array.from({ length: 2 * stride }, (_, at) => 170 + 50 * Math.sin(Math.floor(at / 3) / 11 + (at % 3)));
/** Read twice, as a slide is: whole, and for what the model sees. */
const drawn = () => {
  const room = reusedBytes();
  return {
    width,
    height,
    rows: (top, count) => {
      const rows = room(count * stride);
      for (let y = 0; y < count; y++)
        rows.set(pattern.subarray(3 * ((top + y) % width), 3 * ((top + y) % width) + stride), y * stride);
      return rows;
    },
  };
};

let largest = 0;
const measure = () => {
  largest = Math.max(largest, process.memoryUsage.rss());
};
const timer = setInterval(measure, 20);
const start = performance.now();
const file = join(folder, "drawn.tif");
const format = { width, height, channels: 3, compression: "jpeg", resolution: { x: 4000, y: 4000, unit: "cm" } };
const writer = await SlideWriter.create(file, format);
const quarter = resizeRows(drawn(), 3, width >> 2, height >> 2);
for await (const { data } of paintLarge({
  ...{ channels: 3, full: drawn(), low: quarter, side: 224, radius: 12, skipBlank: false },
  // A model that leaves everything as it is, and a detail that takes it as it is: hours of a software adapter are nobody's.
  paint: async (count, windowOf, results) => {
    for (let index = 0; index < count; index++) results.set(windowOf(index), index * 224 * 224 * 3);
  },
  restoreRow: async () => measure(),
})) {
  await writer.write(data);
  measure();
}
await writer.finish();
await writer[Symbol.asyncDispose]();
measure();
clearInterval(timer);
rmSync(file);
process.stdout.write(JSON.stringify({ largest, milliseconds: Math.round(performance.now() - start) }));
