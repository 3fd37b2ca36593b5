import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { HashedWeights, hashedUniform } from "../../src/hub/hashed.js";
import { writeSafetensors } from "../../src/hub/safetensors-writer.js";
import { presetConfig } from "../../src/models/stylizing-vit/config.js";
import { parameterShapes } from "../../src/models/stylizing-vit/parameters.js";
import { COMMIT, HubServer } from "../hub/hub-server.js";
import { build, type Failure, fresh, listFiles, run, runJson } from "./command.js";

beforeAll(build);

it("a model is fetched by name once, and painted with offline from then on, to the same bits as from elsewhere", async () => {
  const weights = new HashedWeights(parameterShapes(presetConfig("tiny")), 5);
  const file = fresh("model.safetensors");
  await writeSafetensors(
    file,
    [...weights.shapes].map(([name, shape]) => [name, { shape, data: () => weights.read(name) }] as const),
  );
  const input = fresh("input.safetensors");
  const image = (name: string) => [name, { shape: [1, 3, 224, 224], data: hashedUniform(name, 3 * 224 * 224, 5) }] as const;
  await writeSafetensors(input, [image("content"), image("style")]);
  const args = (output: string, ...model: string[]) => ["forward", "--input", input, "--output", output, ...model];
  const [fetched, cached, direct] = [fresh("fetched.safetensors"), fresh("cached.safetensors"), fresh("direct.safetensors")];
  const env = { HF_HOME: fresh("cache"), HF_ENDPOINT: "" };
  {
    await using hub = await HubServer.start();
    env.HF_ENDPOINT = hub.url;
    hub.files.set("model.safetensors", { bytes: readFileSync(file), lfs: true });
    // Whatever the published configuration holds: shapes decide.
    hub.files.set("config.json", { bytes: new TextEncoder().encode('{ "model_type": "something" }'), lfs: false });
    const report = await runJson<{ model: string; config: object; batch: number }>(args(fetched, "--model", "tiny/epistr"), 0, {
      env,
    });
    expect(report).toMatchObject({ model: `tiny/epistr@${COMMIT}`, batch: 1, config: presetConfig("tiny") });
    expect(hub.downloads()).toHaveLength(1);
  }
  // The server is gone; another name cannot be had.
  expect((await run(args(cached, "--model", "tiny/epistr"), { env })).code).toBe(0);
  const off = await runJson<Failure>(args(direct, "--model", "tiny/cholec80"), 1, { env: { ...env, HF_HUB_OFFLINE: "1" } });
  expect(off.error).toMatchObject({ code: "DOWNLOAD", message: expect.stringContaining("downloads are off") });
  expect(existsSync(direct)).toBe(false);

  expect((await run(args(direct, "--model", "hashed:5", "--preset", "tiny"))).code).toBe(0);
  expect(readFileSync(fetched).equals(readFileSync(direct))).toBe(true);
  expect(readFileSync(cached).equals(readFileSync(direct))).toBe(true);
  expect(listFiles(join(env.HF_HOME)).filter((name) => name.endsWith(".partial"))).toEqual([]);
});
