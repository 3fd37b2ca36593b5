import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { stylizeFiles } from "../../src/command/stylize.js";
import { StylizingError } from "../../src/errors.js";
import { Engine } from "../../src/painter/engine.js";
import { build, fresh, HERE, imageFiles, listFiles, micro, run, stylize } from "./command.js";

beforeAll(build);

describe("--workers", () => {
  it.each(["-1", "1.5", "many"])("%s is refused", async (workers) => {
    const { code, stderr } = await run([...stylize(["c.png"], ["s.png"], "out"), `--workers=${workers}`], HERE);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("It must be a whole number from 0 on.") });
  });
});

it("a device that fails once loses one batch, and the rest is painted", async () => {
  const names = [..."abcdefgh"];
  const [contents, styles, out] = [await imageFiles(...names), await imageFiles(...names), fresh("out")];
  const run = Engine.prototype.run;
  let calls = 0;
  const spy = vi.spyOn(Engine.prototype, "run").mockImplementation(function (this: Engine, ...args) {
    return ++calls === 2 ? Promise.reject(new StylizingError("GPU", "It hiccuped.", "Try again.")) : run.apply(this, args);
  });
  onTestFinished(() => spy.mockRestore());
  const [, model, , file] = micro();
  const flags = { model: model!, config: file!, precision: "f32", adapter: "software", pair: "each", format: "png" } as const;
  const report = await stylizeFiles({ ...flags, content: contents, style: styles, out, batch: 2, seed: 0, size: "model" });
  expect(report.images.map(({ status }) => status)).toEqual(["done", "done", "failed", "failed", "done", "done", "done", "done"]);
  for (const { status, error } of report.images) if (status === "failed") expect(error).toMatchObject({ code: "GPU" });
  expect(listFiles(out)).toEqual(["a.png", "b.png", "e.png", "f.png", "g.png", "h.png"]);
});
