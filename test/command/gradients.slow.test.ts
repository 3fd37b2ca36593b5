import { join } from "node:path";
import { expect, it } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { parseConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { fresh, runJson } from "./command.js";
import { FIXTURE, gradients, INFO } from "./gradients.js";

const CONFIG = parseConfig(INFO.config, "grey");

it("writes PyTorch's losses and a gradient a parameter, in parts of a batch and with little memory as well", async () => {
  const output = fresh("gradients.safetensors");
  const args = gradients(output, "--vgg", `hashed:${INFO.seed}`, "--micro-batch", "1", "--recompute");
  const report = await runJson<{ losses: Record<string, number>; total: number; vgg: string; batch: number; tier: string }>([
    ...args,
    "--json",
  ]);
  expect(report).toMatchObject({ batch: 2, tier: "f32", vgg: "hashed:3" });
  expect(report.total / INFO.steps[0].total).toBeCloseTo(1, 4);
  await using file = await SafetensorsFile.open(output);
  const shapes = parameterShapes(CONFIG);
  expect([...file.tensors.keys()].sort()).toEqual(
    [
      ...["identity", "consistency", "anatomical", "style"].map((term) => `loss.${term}`),
      ...[...shapes.keys()].map((key) => `gradient.${key}`),
    ].sort(),
  );
  for (const term of ["identity", "consistency", "anatomical", "style"]) {
    expect(file.tensors.get(`loss.${term}`)).toMatchObject({ dtype: "F32", shape: [1] });
    expect((await file.read(`loss.${term}`))[0]! / INFO.steps[0][term], term).toBeCloseTo(1, 4);
  }
  await using expected = await SafetensorsFile.open(join(FIXTURE, "training.safetensors"));
  for (const [key, shape] of shapes) {
    const name = `gradient.${key}`;
    expect(file.tensors.get(name)!.shape).toEqual(shape);
    const [mine, theirs] = [await file.read(name), await expected.read(name)];
    const distance = Math.hypot(...mine.map((value, i) => value - theirs[i]!)) / Math.hypot(...theirs);
    expect(distance, key).toBeLessThan(1e-3);
  }
});
