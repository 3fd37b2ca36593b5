// A process that does what a first use does, and prints when: see cold-start.ts. Nothing of the library may be imported
// before it is timed.
import type { AdapterChoice, LoadOptions, Precision } from "../src/index.js";
import type { ColdRun } from "./cold-start.js";

const [model = "demo", precision = "auto", adapter = "auto", spawned = "0"] = process.argv.slice(2);
const node = Date.now() - Number(spawned);
let last = performance.now();
const lap = () => {
  const now = performance.now();
  const elapsed = now - last;
  last = now;
  return elapsed;
};

const { StylizingViT } = await import("../src/index.js");
const imported = lap();

let open: number | undefined;
let upload: number | undefined;
const options: LoadOptions = {
  adapter: adapter as AdapterChoice,
  precision: precision as Precision,
  onProgress({ phase, loaded }) {
    if (phase === "upload") open ??= lap();
    if (phase === "compile" && loaded === 0) upload = lap();
  },
  ...(model === "demo" ? {} : { preset: model, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] }),
};
const vit = await StylizingViT.load(model === "demo" ? "demo" : "hashed:5", options);
const compile = lap();

const { image_size: size } = vit.config;
const image = (factor: number) => ({
  data: Uint8Array.from({ length: size * size * 3 }, (_, at) => (at * factor) % 256),
  width: size,
  height: size,
  channels: 3,
});
const [content, style] = [image(7), image(13)];
lap();
const result = await vit.stylize(content, style);
const first = lap();
const again = await vit.stylize(content, style);
const second = lap();
if (!result.data.some((value) => value !== result.data[0]) || result.data.some((value, at) => value !== again.data[at])) {
  throw new Error("the first image is flat, or the second one differs from it");
}
const run: ColdRun = {
  phases: { node, import: imported, open: open ?? Number.NaN, upload: upload ?? Number.NaN, compile, first, second },
  residentBytes: process.resourceUsage().maxRSS * 1024,
  deviceBytes: vit.memory().deviceBytes,
};
await vit[Symbol.asyncDispose]();
process.stdout.write(`${JSON.stringify(run)}\n`);
