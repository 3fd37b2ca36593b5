import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { HashedWeights } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import type { ExportReport } from "../../src/index.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { COMMIT, HubServer } from "../hub/hub-server.js";
import { readOnnx } from "../onnx/read.js";
import { build, type Failure, fresh, listFiles, run, runJson } from "./command.js";

beforeAll(build);

// Painted with in hub.slow.test.ts; to write it in another format takes no device.
it("a model is fetched by name once, and read offline from then on, the same bits as from elsewhere", async () => {
  const weights = new HashedWeights(parameterShapes(presetConfig("tiny")), 5);
  const file = fresh("model.safetensors");
  await writeSafetensors(
    file,
    [...weights.shapes].map(([name, shape]) => [name, { shape, data: () => weights.read(name) }] as const),
  );
  const args = (file: string, ...model: string[]) => ["export", "--onnx", file, ...model];
  const [fetched, cached, direct] = [fresh("fetched.onnx"), fresh("cached.onnx"), fresh("direct.onnx")];
  const env = { HF_HOME: fresh("cache"), HF_ENDPOINT: "" };
  {
    await using hub = await HubServer.start();
    env.HF_ENDPOINT = hub.url;
    hub.files.set("model.safetensors", { bytes: readFileSync(file), lfs: true });
    // Whatever the published configuration holds: shapes decide.
    hub.files.set("config.json", { bytes: new TextEncoder().encode('{ "model_type": "something" }'), lfs: false });
    const report = await runJson<ExportReport>(args(fetched, "--model", "tiny/epistr"), 0, { env });
    expect(report.model).toBe(`tiny/epistr@${COMMIT}`);
    expect(hub.downloads()).toHaveLength(1);
  }
  // The server is gone; another name cannot be had.
  expect((await run(args(cached, "--model", "tiny/epistr"), { env })).code).toBe(0);
  const off = await runJson<Failure>(args(direct, "--model", "tiny/cholec80"), 1, { env: { ...env, HF_HUB_OFFLINE: "1" } });
  expect(off.error).toMatchObject({ code: "DOWNLOAD", message: expect.stringContaining("downloads are off") });
  expect(existsSync(direct)).toBe(false);

  expect((await run(args(direct, "--model", "hashed:5", "--preset", "tiny"))).code).toBe(0);
  const [mine, theirs] = [fetched, direct].map((file) => readOnnx(readFileSync(file)).tensors);
  expect([...mine!.keys()]).toEqual([...theirs!.keys()]);
  for (const [name, { raw }] of mine!) expect(raw.equals(theirs!.get(name)!.raw), name).toBe(true);
  expect(readFileSync(cached).equals(readFileSync(fetched))).toBe(true);
  expect(listFiles(join(env.HF_HOME)).filter((name) => name.endsWith(".partial"))).toEqual([]);
});
