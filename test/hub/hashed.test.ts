import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { HashedWeights, hashedTensor, hashedUniform } from "../../src/hub/hashed.js";

// From the Python reference.
const GOLDEN: [name: string, seed: number, values: number[]][] = [
  [
    "content",
    0,
    [
      0.2110600471496582, -0.724066972732544, 0.19298779964447021, -0.25658905506134033, 0.39380383491516113, 0.55424964427948,
      0.9264997243881226, 0.05960845947265625,
    ],
  ],
  [
    "content",
    7,
    [
      0.2890169620513916, 0.6291564702987671, -0.5860477685928345, 0.8136416673660278, 0.6923291683197021, 0.8758069276809692,
      0.02783489227294922, -0.036015868186950684,
    ],
  ],
  [
    "encoder.pos_embed",
    0,
    [
      0.512326717376709, -0.29574453830718994, -0.532378077507019, 0.3937159776687622, -0.7797181606292725, -0.8031761646270752,
      -0.5397528409957886, -0.48533523082733154,
    ],
  ],
  [
    "encoder.pos_embed",
    7,
    [
      0.42533278465270996, -0.06616437435150146, 0.21259307861328125, 0.888931155204773, 0.833219051361084, 0.09489572048187256,
      -0.6033061742782593, 0.44432592391967773,
    ],
  ],
];

describe("hashedUniform", () => {
  it.each(GOLDEN)("%s with seed %i", (name, seed, values) => {
    expect([...hashedUniform(name, values.length, seed)]).toEqual(values);
  });

  it("refuses a length or seed that is not a whole number", () => {
    for (const [count, seed] of [
      [-1, 0],
      [1.5, 0],
      [1, 0.5],
      [1, Number.NaN],
    ] as const) {
      expect(() => hashedUniform("x", count, seed)).toThrow(expect.objectContaining({ code: "ARGUMENT" }));
    }
  });
});

// sha256 of the tensor's bytes, from the Python reference: every branch of scale and offset.
const DIGESTS: [name: string, shape: number[], seed: number, digest: string][] = [
  ["encoder.blocks.0.norm_input.weight", [192], 5, "c768fa6dc67f7bfeb11a388c2c037d42182f314554ec751b32480486bbe00b54"],
  ["encoder.norm.bias", [96], 5, "3cae86bc62862029438518fd1bb5537b01e5310a8d90dcbc2a215131b5a8d11c"],
  ["encoder.cls_token", [1, 1, 192], 5, "595e9b084249ec0671061e9e5e27ce2d6b99085f709b78a4d91e4f44a13c42c3"],
  ["encoder.pos_embed", [1, 197, 192], 7, "1c4c92c9ebe02daa39ab0502b2883999b3e24dc02845411cb0f7138e28f6c8d8"],
  ["encoder.blocks.3.attn.q_proj.weight", [192, 192], 5, "7bf8719db458c85bbd097822eb97f6e02814a894bfde764e680f68ff97372a42"],
  ["encoder.blocks.11.attn.k_proj.weight", [96, 96], -3, "c72a68b522e2fc871db272ea3aa357be1885178838a0403b190c864e25a535d3"],
  [
    "encoder.blocks.0.mlp.fc2.weight",
    [192, 768],
    123456789012,
    "72da4aca619bcee8a818b13b0c5b692efec390a81c112257c5dc304f805729c4",
  ],
  ["encoder.patch_embed.proj.weight", [192, 3, 16, 16], 5, "b7aac64bb1a21de29d7d7256c651b25469f2f9b54266504817a7f67657eab740"],
  ["post_process_conv.weight", [3, 3, 5, 5], 0, "14f498b704dd0fa7478d21964730bc88fe1366699b4f397acf30d157e06b5197"],
  ["vgg_encoder.features_0.weight", [64, 3, 3, 3], 1, "ae23973ddce405a50663c4b88f03290e32424f5ecb57ffb987e7376621c81a43"],
  ["bottleneck.fc1.bias", [384], 4294967295, "fa2f197433d5c32c570778d0502631c8350559a716f0a97e9990be5f4dc591a8"],
];

describe("hashedTensor", () => {
  it.each(DIGESTS)("%s %j with seed %i is the reference's, bit-exact", (name, shape, seed, digest) => {
    const values = hashedTensor(name, shape, seed);
    expect(createHash("sha256").update(new Uint8Array(values.buffer)).digest("hex")).toBe(digest);
  });
});

describe("HashedWeights", () => {
  it("reads the tensors of its shape table", async () => {
    await using weights = new HashedWeights(new Map([["encoder.cls_token", [1, 1, 6]]]), 5);
    expect(weights.label).toBe("hashed:5");
    expect(await weights.read("encoder.cls_token")).toEqual(hashedTensor("encoder.cls_token", [1, 1, 6], 5));
    await expect(weights.read("encoder.pos_embed")).rejects.toMatchObject({ code: "CHECKPOINT" });
  });
});
