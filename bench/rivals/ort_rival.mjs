// onnxruntime-node as a rival: reads requests from stdin, one JSON document a line, and answers each with one line on stdout.
// A process of its own, since its native part is known to take the process with it.
//   node ort_rival.mjs cpu|webgpu [software]
import { createInterface } from "node:readline";
import { openSoftwareDriver } from "../../dist/gpu/swiftshader.js";
import { SafetensorsFile } from "../../dist/hub/safetensors.js";
import { writeSafetensors } from "../../dist/hub/safetensors-writer.js";

const answer = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);
const [provider, software] = process.argv.slice(2);

let ort;
try {
  // Its WebGPU finds the Vulkan driver of this process, as ours does.
  if (provider === "webgpu" && software) openSoftwareDriver();
  ort = (await import("onnxruntime-node")).default;
  answer({ name: `onnxruntime-node ${ort.env.versions.node}`, device: provider });
} catch (error) {
  answer({ skip: error.message.split("\n")[0] });
  process.exit();
}

let graph;
let feeds;
let shape;

const requests = {
  /** Takes a graph and a batch; `content` and `style` are normalised planes [B, C, S, S]. */
  async load({ model, inputs }) {
    const file = await SafetensorsFile.open(inputs);
    shape = file.tensors.get("content").shape;
    feeds = {};
    for (const name of ["content", "style"]) feeds[name] = new ort.Tensor("float32", await file.read(name), shape);
    await file.close();
    // Its remarks about where it puts which node are warnings to it, and nothing to do about.
    graph = await ort.InferenceSession.create(model, { executionProviders: [provider], logSeverityLevel: 3 });
    return {};
  },
  /** Runs once and writes `stylized` of some of the images; without `images`, of all. */
  async check({ output, images }) {
    const { stylized } = await graph.run(feeds);
    const each = stylized.data.length / shape[0];
    const wanted = images ?? Array.from({ length: shape[0] }, (_, image) => image);
    const data = new Float32Array(wanted.length * each);
    for (const [at, image] of wanted.entries()) data.set(stylized.data.subarray(image * each, (image + 1) * each), at * each);
    await writeSafetensors(output, [["stylized", { shape: [wanted.length, ...shape.slice(1)], data }]]);
    return { shape: stylized.dims };
  },
  /** From planes in host memory to planes in host memory. */
  async run() {
    const start = performance.now();
    const { stylized } = await graph.run(feeds);
    if (stylized.data.length === 0) throw new Error("nothing came back");
    return { milliseconds: performance.now() - start };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...rest } = JSON.parse(line);
  try {
    answer({ ok: await requests[what](rest) });
  } catch (error) {
    answer({ error: error.message });
  }
}
process.exit();
