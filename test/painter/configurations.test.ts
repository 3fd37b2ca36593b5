import { describe, expect, it } from "vitest";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { type ModelConfig, parseConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { StylizingViT } from "../../src/painter/stylizing-vit.js";
import { relativeError } from "../support/fixtures.js";
import { Oracle } from "../support/oracle.js";
import { SLOW } from "../support/slow.js";

// Shapes that are nobody's default, against the model written out in float64.

interface Case {
  what: string;
  batch: number;
  config: Partial<ModelConfig>;
}

const CASES: Case[] = [
  { what: "grey, 7 heads of 6, patch 7, 10 tokens", batch: 1, config: { image_size: 21, in_channels: 1, patch_size: 7, embed_dim: 42, num_heads: 7, depth: 2 } },
  { what: "a batch of 5, 5 tokens, no qkv bias", batch: 5, config: { image_size: 12, patch_size: 6, embed_dim: 72, num_heads: 4, depth: 2, qkv_bias: false } },
  { what: "one layer", batch: 2, config: { image_size: 16, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 1 } },
  { what: "one token of one patch, kernel 1, odd MLP ratios", batch: 3, config: { image_size: 8, patch_size: 8, embed_dim: 48, num_heads: 2, depth: 3, mlp_ratio: 2.3, bottleneck_mlp_ratio: 1.7, post_process_conv_kernel_size: 1 } },
  { what: "kernel 9 on 15 pixels, 26 tokens, one head of 90", batch: 2, config: { image_size: 15, patch_size: 3, embed_dim: 90, num_heads: 1, depth: 2, post_process_conv_kernel_size: 9 } },
  { what: "2 channels, head of 2, width 14 × 4", batch: 2, config: { image_size: 14, in_channels: 2, patch_size: 7, embed_dim: 28, num_heads: 14, depth: 2 } },
  { what: "5 channels, 401 tokens", batch: 1, config: { image_size: 40, in_channels: 5, patch_size: 2, embed_dim: 20, num_heads: 2, depth: 2 } },
]; // biome-ignore format: a table

describe("odd configurations meet a float64 oracle", () => {
  // The largest two take as long as the others together.
  it.each(SLOW ? CASES : CASES.filter(({ what }) => !/26 tokens|401 tokens/.test(what)))(
    "$what, batch $batch",
    async ({ batch, config: given }) => {
      const config = parseConfig(given, "test");
      const shapes = parameterShapes(config);
      const source = new HashedWeights(shapes, 11);
      const weights = new Map<string, Float32Array>();
      for (const key of shapes.keys()) weights.set(key, await source.read(key));
      const oracle = new Oracle(config, weights);

      const each = config.in_channels * config.image_size ** 2;
      const content = hashedUniform("content", batch * each, 3);
      const style = hashedUniform("style", batch * each, 3);
      const expected = Array.from({ length: batch }, (_, i) =>
        Array.from(oracle.stylize(content.subarray(i * each, (i + 1) * each), style.subarray(i * each, (i + 1) * each))),
      ).flat();

      await using model = await StylizingViT.load("hashed:11", { config, adapter: "software", precision: "f32" });
      expect(relativeError(await model.forward(content, style), expected)).toBeLessThanOrEqual(5e-5);
      expect(relativeError((await model.trace(content, style)).stylized, expected)).toBeLessThanOrEqual(5e-5);
    },
  );
});
