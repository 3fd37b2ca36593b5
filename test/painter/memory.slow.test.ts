import { expect, it } from "vitest";
import { StylizingViT } from "../../src/index.js";

const options = { adapter: "software", precision: "f32" } as const;

it("holds no more memory after 2 000 small batches than after 1 000", async () => {
  using demo = await StylizingViT.load("demo", options);
  await using small = await StylizingViT.load("hashed:1", {
    ...options,
    config: { ...demo.config, image_size: 16, depth: 1, embed_dim: 48, num_heads: 1 },
  });
  const image = { data: new Uint8Array(16 * 16 * 3).fill(99), width: 16, height: 16, channels: 3 };
  using bank = await small.styleBank([image, image]);
  const run = async (count: number) => {
    for (let i = 0; i < count; i++) {
      if (i % 10 === 9) await small.stylize([image, image], bank);
      else if (i % 10 === 8) await small.stylize(image, [image, image, image]);
      else await small.stylize(image, image);
    }
    global.gc?.();
    return { device: small.memory().deviceBytes, process: process.memoryUsage().rss };
  };
  const early = await run(1000);
  const late = await run(1000);
  expect(late.device).toBe(early.device);
  // The process's own memory breathes with its collector; a leak of one 16-pixel activation a batch would be 40 MB.
  expect(late.process - early.process).toBeLessThan(30e6);
});
