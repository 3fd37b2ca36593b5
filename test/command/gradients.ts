/** What the fast and the slow tests of `gradients` share: the grey case of Stylizing ViT. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll } from "vitest";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { hashedImages } from "../train/images.js";
import { build, fresh } from "./command.js";

export const FIXTURE = fileURLToPath(new URL("../fixtures/grey/", import.meta.url));
export const INFO = JSON.parse(readFileSync(join(FIXTURE, "training.json"), "utf8"));
const config = fresh("config.json");
const input = fresh("input.safetensors");

beforeAll(async () => {
  await build();
  writeFileSync(config, JSON.stringify(INFO.config));
  const content = hashedImages("train.0", 2, 1, 32, INFO.seed);
  const style = Float32Array.from([...content.subarray(1024), ...content.subarray(0, 1024)]);
  const shape = [2, 1, 32, 32];
  await writeSafetensors(input, [
    ["content", { shape, data: content }],
    ["style", { shape, data: style }],
  ]);
});

export const gradients = (output: string, ...rest: string[]) => [
  "gradients",
  ...["--model", `hashed:${INFO.seed}`, "--config", config, "--input", input, "--output", output, "--adapter", "software"],
  ...rest,
];
