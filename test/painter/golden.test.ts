import { afterAll, describe, expect, it } from "vitest";
import { StylizingViT } from "../../src/index.js";
import { goldenFolder, loadGolden, relativeError } from "../support/fixtures.js";

// Values that PyTorch computed with the reference model: every stream after every layer. The published sizes are in
// golden.slow.test.ts. The bound is that of the whole model in f32; what is seen is below 1e-5.
const BOUND = 5e-5;

const models: StylizingViT[] = [];
afterAll(() => {
  for (const model of models) model.dispose();
});

async function load(name: string) {
  const golden = await loadGolden(name);
  const model = await StylizingViT.load(golden.model, { config: golden.config, adapter: "software", precision: "f32" });
  models.push(model);
  return { golden, model };
}

/** Streams of a trace by the names of the golden file. */
const STREAMS = { A: "anatomy", Y: "style", Z: "stylized", Q: "query" } as const;

describe.each(["nano", "mini"])("%s, every intermediate", (name) => {
  it.skipIf(!goldenFolder(name))("meets PyTorch", async () => {
    const { golden, model } = await load(name);
    const { tensors, config } = golden;
    const errors = new Map<string, number>();
    const trace = await model.trace(tensors.get("content")!, tensors.get("style")!, (layer, streams) => {
      for (const [slot, stream] of Object.entries(STREAMS)) {
        const key = `layer${layer}.${stream}`;
        errors.set(key, relativeError(streams[slot]!, tensors.get(key)!));
      }
    });
    for (const [key, values] of Object.entries(trace)) errors.set(key, relativeError(values, tensors.get(key)!));
    errors.set(
      "forward",
      relativeError(await model.forward(tensors.get("content")!, tensors.get("style")!), tensors.get("stylized")!),
    );

    expect(errors.size).toBe(4 * config.depth + 6);
    expect([...errors].filter(([, error]) => !(error <= BOUND))).toEqual([]);
  });
});
