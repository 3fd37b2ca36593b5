import { readFileSync } from "node:fs";
import { it } from "vitest";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { parseConfig } from "../../src/model/config.js";
import { TrainingDevice } from "../../src/train/device.js";
import { rolled, separate } from "../../src/train/graph.js";
import { LOSS_WEIGHTS } from "../../src/train/types.js";
import { openVgg } from "../../src/train/vgg-weights.js";
import { gpuOfThisFile } from "../support/gpu.js";

import { hashedPictures } from "./pictures.js";
const gpu = gpuOfThisFile();
const read = async (path: string) => {
  const file = await SafetensorsFile.open(path);
  const tensors = new Map<string, Float32Array>();
  for (const key of file.tensors.keys()) { tensors.set(key, await file.read(key)); if (key === "images") console.log(file.tensors.get(key)); }
  await file.close();
  return tensors;
};
it.each(["rolled"])("nano %s", async (kind) => {
  const folder = "/work/shared/golden/nano/";
  const info = JSON.parse(readFileSync(folder + "training.json", "utf8"));
  const config = parseConfig(info.config, "nano");
  const t = await read(folder + "training.safetensors");
  const w = await read(folder + "weights.safetensors");
  const vgg = await openVgg("hashed:1", 3);
  const t0 = performance.now();
  const device = await TrainingDevice.create(gpu(), config, { uniques: 6, pairs: 3, recompute: false, weights: LOSS_WEIGHTS, lossScale: 1, vgg, clip: 1, adamW: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-2 } });
  console.log("create", performance.now() - t0, gpu().allocatedBytes / 1e6);
  device.writeWeights(w);
  const images = t.get("images")!;
  const n = 3 * 32 * 32;
  const planes = new Float32Array(6 * n);
  planes.set(images, 0);
  planes.set(images.subarray(n), 3 * n); planes.set(images.subarray(0, n), 5 * n);
  for (let step = 0; step < 4; step++) {
    device.clear();
    const t1 = performance.now();
    const pics = hashedPictures(`train.${step}`, 3, 3, 32);
    if (step === 0) console.log("max diff", Math.max(...pics.map((v, i) => Math.abs(v - images[i]!))));
    await device.run(rolled(3, 3), pics, true);
    device.unfold();
    device.update(1e-3);
    const r = await device.report();
    console.log(JSON.stringify(r.losses), r.gradientNorm, JSON.stringify(info.steps[step]), performance.now() - t1);
  }
  const g = (await device.readState()).parameters;
  const lines = [];
  for (const [key, mine] of g) {
    const ref = t.get("after." + key)!;
    let d = 0, n = 0;
    for (let i = 0; i < mine.length; i++) { d += (mine[i]! - ref[i]!) ** 2; n += ref[i]! ** 2; }
    lines.push([key, Math.sqrt(d / n).toExponential(2), Math.sqrt(n).toExponential(2)].join(" "));
  }
  console.log(lines.join("\n"));
  device.dispose();
});
