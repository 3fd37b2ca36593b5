import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hashedTensor, hashedUniform } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { resize } from "../../src/image/resize.js";
import type { PixelImage } from "../../src/image/types.js";
import { Vgg16 } from "../../src/index.js";
import { VGG_16, vggShapes } from "../../src/models/vgg/weights.js";
import { gradient, noise } from "../image/helpers.js";

/** The whole network beside PyTorch, where Debian has it: torchvision's layers, and LPIPS as its authors' code computes it. */
const PYTHON = [process.env.STYLIZING_VIT_PYTHON, "python3", "/usr/bin/python3"].find(
  (python) => python && spawnSync(python, ["-c", "import torch, numpy"]).status === 0,
);

const SCRIPT = `
import json, struct, sys
import numpy as np, torch, torch.nn.functional as F

def tensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    for name, info in header.items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            yield name, torch.from_numpy(np.frombuffer(data[begin:end], np.float32).reshape(info["shape"]).copy())

weights = dict(tensors(sys.argv[1]))
STAGES = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]]

def levels(path):
    image = json.load(open(path))
    x = torch.tensor(image["data"], dtype=torch.float32).reshape(image["height"], image["width"], 3).permute(2, 0, 1)[None] / 255
    shift, scale = torch.tensor([-.030, -.088, -.188]), torch.tensor([.458, .448, .450])
    x = (2 * x - 1 - shift[:, None, None]) / scale[:, None, None]
    out = []
    for stage, convolutions in enumerate(STAGES):
        if stage:
            x = F.max_pool2d(x, 2)
        for n in convolutions:
            x = F.relu(F.conv2d(x, weights[f"features.{n}.weight"], weights[f"features.{n}.bias"], padding=1))
        out.append(x)
    return out

one = lambda x: x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
result = {"features": [], "lpips": []}
for path in sys.argv[2].split(","):
    result["features"].append(levels(path)[4].mean((2, 3))[0].tolist())
for pair in sys.argv[3].split(","):
    a, b = (levels(path) for path in pair.split("+"))
    parts = [(F.conv2d((one(p) - one(q)).square(), weights[f"lin{k}.model.1.weight"])).mean() for k, (p, q) in enumerate(zip(a, b))]
    result["lpips"].append(float(sum(parts)))
json.dump(result, sys.stdout)
`;

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-vgg16-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string, { data, width, height }: PixelImage): string {
  const file = join(folder, name);
  writeFileSync(file, JSON.stringify({ width, height, data: [...data] }));
  return file;
}

describe.skipIf(!PYTHON)(`VGG-16 as PyTorch computes it${PYTHON ? "" : " (skipped: no python3 has torch)"}`, () => {
  it("features and LPIPS, of images that are no squares too", async () => {
    const shapes = vggShapes(3, VGG_16.stages);
    const file = join(folder, "vgg16.safetensors");
    await writeSafetensors(file, [
      ...[...shapes].map(([key, shape]) => [key.replace("vgg_encoder.features_", "features."), { shape, data: () => hashedTensor(key, shape, 8) }] as const), // biome-ignore format: one table
      ...VGG_16.stages.map(({ channels }, level) => [`lin${level}.model.1.weight`, { shape: [1, channels, 1, 1], data: hashedUniform(`lin ${level}`, channels, 8).map(Math.abs) }] as const), // biome-ignore format: one table
    ]);
    const pairs = [
      [gradient(96, 64), noise(96, 64, 3, 1)],
      [noise(64, 64, 3, 2), noise(64, 64, 3, 3)],
      [gradient(33, 70), noise(33, 70, 3, 4)],
    ] as const;
    const images = [gradient(300, 200), noise(224, 224, 3, 5)];
    const resized = await Promise.all(images.map((image) => resize(image, 224, 224)));
    const args = [
      resized.map((image, at) => written(`${at}.json`, image)).join(","),
      pairs.map((pair, at) => pair.map((image, side) => written(`${at}-${side}.json`, image)).join("+")).join(","),
    ];
    const out = execFileSync(PYTHON!, ["-c", SCRIPT, file, ...args], { encoding: "utf8", maxBuffer: 1e8 });
    const expected = JSON.parse(out) as { features: number[][]; lpips: number[] };

    await using network = await Vgg16.load({ vgg: file, lpips: file, adapter: "software" });
    const distances = await network.lpips(pairs.map(([a]) => a), pairs.map(([, b]) => b)); // biome-ignore format: one call
    for (const [pair, distance] of distances.entries())
      expect(Math.abs(distance - expected.lpips[pair]!)).toBeLessThanOrEqual(2e-5 * expected.lpips[pair]!);
    expect(await network.lpips(pairs[0][0], pairs[0][0])).toBe(0);
    for (const [image, found] of (await network.features(images)).entries()) {
      const largest = Math.max(...expected.features[image]!);
      expect(found).toHaveLength(512);
      for (const [at, value] of found.entries())
        expect(Math.abs(value - expected.features[image]![at]!)).toBeLessThanOrEqual(2e-5 * largest);
    }
  });
});
