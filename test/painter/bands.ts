/** What the fast and the slow tests of bands share. */
import { expect } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import type { Profile } from "../../src/gpu/profile.js";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { asFloats } from "../../src/net/pixels.js";
import { Engine, type Job } from "../../src/painter/engine.js";

const config = parseConfig({ image_size: 24, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 3 }, "test");
const content = hashedUniform("content", 4 * 3 * 24 * 24, 5);
const style = hashedUniform("style", 4 * 3 * 24 * 24, 5);
const job: Job = { mode: "pair", images: 4, input: "planes", output: "planes", content, style };

async function painted(own: Gpu, flopsPerDispatch: number) {
  own.flopsPerDispatch = flopsPerDispatch;
  const engine = await Engine.create(own, config, new HashedWeights(parameterShapes(config), 2));
  try {
    const pixels = asFloats(await engine.run(job));
    const dispatches = (await engine.profile(job))?.length;
    return { pixels, dispatches };
  } finally {
    engine.dispose();
  }
}

/** GEMMs and attention of the profile's kernels, whole and cut into bands of sequences. */
export async function changesNoBitInBands(gpu: Gpu, profile: Profile): Promise<void> {
  // One for all three: its kernels are compiled once.
  using own = new Gpu(gpu.device, gpu.facts, profile, false);
  const whole = await painted(own, Number.POSITIVE_INFINITY);
  const two = 2 * 2 * 10 * 48 * 192; // fc1 of two sequences of ten tokens
  const cut = await painted(own, two);
  expect(cut.pixels).toEqual(whole.pixels);
  if (whole.dispatches === undefined) return;
  expect(cut.dispatches).toBeGreaterThan(whole.dispatches);
  // One sequence is the least that a dispatch can be.
  const least = await painted(own, 1);
  expect(least.pixels).toEqual(whole.pixels);
  expect(least.dispatches).toBeGreaterThan(cut.dispatches!);
}
