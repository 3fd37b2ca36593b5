/** What the fast and the slow tests of `forward` share. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { hashedUniform } from "../../src/hub/hashed.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { goldenFolder } from "../support/fixtures.js";
import { fresh } from "./command.js";

/** The bound of the whole model in f32, of the largest value. */
export const BOUND = 5e-5;

export const NANO = goldenFolder("nano")!;
export const INPUT = join(NANO, "case.safetensors");
export const WEIGHTS = join(NANO, "weights.safetensors");
export const SHAPE = { image_size: 32, in_channels: 3, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3 };

export function configFile(config: object = SHAPE): string {
  const file = fresh("config.json");
  writeFileSync(file, JSON.stringify(config));
  return file;
}

export const forward = (output: string, ...rest: string[]) => ["forward", "--output", output, ...rest];
export const nano = () => ["--model", WEIGHTS, "--config", configFile(), "--input", INPUT];

/** A file's tensors by name: shape and values. */
export async function tensors(path: string): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  await using file = await SafetensorsFile.open(path);
  const found = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape, dtype }] of file.tensors) {
    expect(dtype).toBe("F32");
    found.set(name, { shape, data: await file.read(name) });
  }
  return found;
}

/** Inputs of the nano model, or of what `shapes` says. */
export async function inputs(shapes: Record<string, number[]>): Promise<string> {
  const path = fresh("input.safetensors");
  const entries = Object.entries(shapes).map(
    ([name, shape]) => [name, { shape, data: hashedUniform(name, shape.reduce((a, b) => a * b, 1), 1) }] as const, // biome-ignore format: one tensor
  );
  await writeSafetensors(path, entries);
  return path;
}
