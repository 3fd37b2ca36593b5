import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, expect, it, onTestFinished } from "vitest";
import { paintTissue, StylizingViT } from "../../src/index.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { build } from "../command/command.js";

const options = { adapter: "software", precision: "f32" } as const;

// Threads run what is compiled.
beforeAll(build);

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

it("a stream holds no more memory after 500 batches than after 100", async () => {
  const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-memory-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const files: string[] = [];
  for (let i = 0; i < 8; i++) {
    files.push(join(folder, `${i}.jpg`));
    const { data } = paintTissue({ size: 64, seed: i, hospital: i % 5 });
    await sharp(data, { raw: { width: 64, height: 64, channels: 3 } })
      .extract({ left: 0, top: 0, width: 64, height: 40 + 3 * i })
      .toFile(files[i]!);
  }
  const shape = { image_size: 16, patch_size: 8, embed_dim: 48, num_heads: 1, depth: 1 };
  const config = parseConfig({ ...shape, mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] }, "a test's model");
  await using model = await StylizingViT.load("hashed:1", { ...options, config, workers: 2 });
  const pairs = Array.from({ length: 1000 }, (_, i) => ({ content: files[i % 8]!, style: files[(i * 3 + 1) % 8]!, label: i }));
  const stream = model.stream(pairs, { batchSize: 2 });
  const at = new Map<number, { device: number; process: number }>();
  for await (const { first } of stream) {
    if (first !== 198 && first !== 998) continue;
    global.gc?.();
    at.set(first, { device: model.memory().deviceBytes, process: process.memoryUsage().rss });
  }
  const [early, late] = [at.get(198)!, at.get(998)!];
  expect(late.device).toBe(early.device);
  // The process's own memory breathes with its collector.
  expect(late.process - early.process).toBeLessThan(30e6);
});
