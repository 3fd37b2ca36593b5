import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import {
  checkConfig,
  dimensions,
  inferConfig,
  type ModelConfig,
  parseConfig,
  presetConfig,
} from "../../src/models/stylizing-vit/config.js";
import { checkShapes, parameterShapes } from "../../src/models/stylizing-vit/parameters.js";

const base = presetConfig("base");

function refusal(work: () => unknown): StylizingError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(StylizingError);
    return error as StylizingError;
  }
  throw new Error("it was accepted");
}

describe("configurations that cannot exist", () => {
  it.each<[string, Partial<ModelConfig>, RegExp]>([
    ["ViT-Large's width", { embed_dim: 1024, num_heads: 16 }, /1024 cannot feed this decoder.*3 × 16 = 48/],
    ["ViT-Huge's width", { embed_dim: 1280, num_heads: 16 }, /1280 cannot feed this decoder/],
    ["a size that patches do not fill", { image_size: 225 }, /225 is not a multiple of the patch size 16/],
    ["heads that do not divide the width", { num_heads: 7 }, /768 is not a multiple of 7 heads/],
    ["an odd width", { embed_dim: 765, num_heads: 3 }, /765 cannot feed/],
    ["an even convolution", { post_process_conv_kernel_size: 4 }, /kernel size 4 is even/],
    ["no layers", { depth: 0 }, /depth is 0/],
    ["half a head", { num_heads: 1.5 }, /num_heads is 1.5/],
    ["a ratio of nothing", { mlp_ratio: 0 }, /mlp_ratio is 0/],
    ["a mean too short", { mean: [0.5] }, /mean is \[0.5\].*3 numbers/],
    ["a std of zero", { std: [0.1, 0, 0.1] }, /std is .*positive/],
  ])("refuses %s", (_what, change, message) => {
    const error = refusal(() => checkConfig({ ...base, ...change }));
    expect(error.code).toBe("CONFIG");
    expect(error.message).toMatch(message);
    expect(error.fix).not.toBe("");
  });

  it("refuses what is no object or lacks the width", () => {
    expect(refusal(() => parseConfig([], "x.json")).message).toContain("x.json");
    expect(refusal(() => parseConfig({ num_heads: 3 }, "x.json")).message).toMatch(/x.json lacks embed_dim/);
    expect(refusal(() => presetConfig("large")).code).toBe("ARGUMENT");
  });
});

describe("parameters", () => {
  it.each([
    ["tiny", 5_820_513],
    ["small", 22_847_457],
    ["base", 90_521_313],
  ])("%s has %i", (preset, count) => {
    const shapes = [...parameterShapes(presetConfig(preset)).values()];
    expect(shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(count);
  });

  it("are read back off their own shapes", () => {
    fc.assert(
      fc.property(
        fc.record({
          patch: fc.integer({ min: 1, max: 16 }),
          side: fc.integer({ min: 1, max: 14 }),
          channels: fc.constantFrom(1, 3),
          heads: fc.integer({ min: 1, max: 6 }),
          depth: fc.integer({ min: 1, max: 3 }),
          ratio: fc.double({ min: 0.3, max: 5, noNaN: true }),
          bias: fc.boolean(),
          kernel: fc.constantFrom(1, 3, 5, 7),
        }),
        (c) => {
          const embed_dim = 64 * c.heads;
          fc.pre((embed_dim / 2) % (c.channels * c.patch) === 0);
          const config = checkConfig({
            image_size: c.patch * c.side,
            in_channels: c.channels,
            patch_size: c.patch,
            embed_dim,
            depth: c.depth,
            num_heads: c.heads,
            mlp_ratio: c.ratio,
            qkv_bias: c.bias,
            bottleneck_mlp_ratio: c.ratio,
            post_process_conv_kernel_size: c.kernel,
          });
          const shapes = parameterShapes(config);
          const inferred = inferConfig(shapes, "test");
          expect({ ...inferred, mlp_ratio: 0, bottleneck_mlp_ratio: 0 }).toEqual({
            ...config,
            mlp_ratio: 0,
            bottleneck_mlp_ratio: 0,
          });
          expect(dimensions(inferred)).toEqual(dimensions(config));
          checkShapes(inferred, shapes, "test");
        },
      ),
    );
  });
});

describe("a checkpoint that is not the configuration's", () => {
  const nano = parseConfig({ image_size: 32, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3 }, "nano");

  it("names the missing key", () => {
    const shapes = parameterShapes(nano);
    shapes.delete("encoder.blocks.1.mlp.fc2.bias");
    const error = refusal(() => checkShapes(nano, shapes, "file.safetensors"));
    expect([error.code, error.message]).toEqual([
      "CHECKPOINT",
      expect.stringMatching(/file.safetensors lacks the tensor encoder.blocks.1.mlp.fc2.bias\./),
    ]);
  });

  it("names the key of another shape", () => {
    const shapes = parameterShapes({ ...nano, mlp_ratio: 2 });
    const error = refusal(() => checkShapes(nano, shapes, "f"));
    expect([error.code, error.message]).toEqual([
      "CONFIG",
      expect.stringMatching(/encoder.blocks.0.mlp.fc1.weight has the shape \[192, 96\].*\[384, 96\]/),
    ]);
  });

  it("does not drop biases without a word", () => {
    expect(refusal(() => checkShapes({ ...nano, qkv_bias: false }, parameterShapes(nano), "f")).message).toMatch(/qkv_bias/);
  });

  it("asks for heads where 64 does not divide the width", () => {
    expect(refusal(() => inferConfig(parameterShapes(nano), "f")).message).toMatch(/how many heads.*96/);
  });
});
