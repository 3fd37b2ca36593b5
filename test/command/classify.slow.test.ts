import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { ClassifyReport } from "../../src/augment/classify-files.js";
import type { VitConfig } from "../../src/index.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { build, fresh, imageFiles, json, listFiles, run, start } from "./command.js";

beforeAll(build);

const NAMES = ["benign", "in situ", 'invasive, "grade 3"', "lymphocytes", "stroma"];
const CONFIG: VitConfig = parseVitConfig(
  {
    kind: "vit",
    ...{ image_size: 32, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2, num_classes: 5, classes: NAMES },
    ...{ mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] },
  },
  "test",
);

/** Arguments of the same model for a process. */
function model(config: object = CONFIG): string[] {
  const file = fresh("config.json");
  writeFileSync(file, JSON.stringify(config));
  return ["--model", "hashed:3", "--config", file];
}

describe("the command", () => {
  it("prints a table of what it could read on stdout, names the rest on stderr, one a line, and fails", async () => {
    const [a, b] = await imageFiles("a", "b");
    const missing = join(fresh(), "none.png");
    const { code, stdout, stderr } = await run(["classify", a!, missing, b!, ...model(), "--top", "2", "--workers", "0"]);
    expect(code, stderr).toBe(1);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^image +class 1 +probability +class 2 +probability$/);
    expect(lines[1]).toMatch(new RegExp(`^${a} +\\S.* \\d+\\.\\d % .* \\d+\\.\\d %$`));
    expect(stderr.split("\n").filter((line) => line.startsWith("failed: "))).toEqual([expect.stringContaining(missing)]);
    expect(stderr).toContain("2 of 3 classified (1 failed)");
    expect(stderr).not.toContain("\u001b");
  });

  it("ends after the batch under way at Ctrl-C, with what is done", async () => {
    const images = await imageFiles(...Array.from({ length: 80 }, (_, i) => `i${i}`));
    const maps = fresh();
    const args = ["classify", ...images, ...model({ ...CONFIG, depth: 12 }), "--batch", "1", "--json", "--attention", maps];
    const { child, finished } = start(args);
    for (let waited = 0; listFiles(maps).length === 0 && waited < 30_000; waited += 10)
      await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGINT");
    const ended = await finished;
    expect(ended.code, ended.stderr).toBe(130);
    const report = json<ClassifyReport>(ended);
    expect(report.done).toBeGreaterThan(0);
    expect(report.stopped).toBe(80 - report.done);
    expect(ended.stderr).toContain("stopping after this batch");
    expect(listFiles(maps).filter((name) => name.startsWith("."))).toEqual([]);
    expect(listFiles(maps)).toHaveLength(report.done);
  });
});
