import { describe, expect, it } from "vitest";
import { Rival, startTorch } from "../../bench/rivals/rival.js";
import { root } from "../support/fixtures.js";

/** A rival that greets and then does `onLine` with every request. */
const fake = (onLine: string, timeout = 20_000) =>
  Rival.start(
    process.execPath,
    [
      "--eval",
      `const say = (document) => console.log(JSON.stringify(document));
say({ name: "fake", device: "none" });
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => { ${onLine} });`,
    ],
    timeout,
  );

const failure = (message: RegExp) => expect.objectContaining({ constructor: expect.objectContaining({ name: "RivalFailure" }), message: expect.stringMatching(message) }); // biome-ignore format: one matcher

describe("a rival in a process of its own", () => {
  it("answers one thing after another, or says why not", async () => {
    using rival = await fake(
      "const { do: what, x } = JSON.parse(line); say(what === 'double' ? { ok: 2 * x } : what === 'lack' ? { skip: 'no such unit' } : { error: 'Error: what?' });",
    );
    expect(rival.hello).toEqual({ name: "fake", device: "none" });
    expect(await rival.ask("double", { x: 4 }, 20_000)).toBe(8);
    await expect(rival.ask("lack", {}, 20_000)).rejects.toEqual(failure(/^no such unit$/));
    await expect(rival.ask("sing", {}, 20_000)).rejects.toEqual(failure(/what\?/));
    expect(await rival.ask("double", { x: 5 }, 20_000)).toBe(10);
  });

  it("may die: that is the answer, then and afterwards", async () => {
    using rival = await fake("console.error('out of luck'); process.kill(process.pid, 'SIGABRT');");
    await expect(rival.ask("run", {}, 20_000)).rejects.toEqual(failure(/ended with SIGABRT: out of luck/));
    await expect(rival.ask("run", {}, 20_000)).rejects.toEqual(failure(/ended with SIGABRT/));
  });

  it("may hang: it is ended, and asked no more", async () => {
    using rival = await fake("for (;;);");
    await expect(rival.ask("run", {}, 300)).rejects.toEqual(failure(/no answer within 0\.3 s/));
    await expect(rival.ask("run", {}, 20_000)).rejects.toEqual(failure(/ended with SIGKILL/));
  });

  it("may be missing, or lack what it needs", async () => {
    await expect(Rival.start("/no/such/program", [], 20_000)).rejects.toEqual(failure(/ENOENT/));
    const lacks = Rival.start(process.execPath, ["--eval", 'console.log(\'{"skip":"no torch"}\')'], 20_000);
    await expect(lacks).rejects.toEqual(failure(/^no torch$/));
    const before = process.env.STYLIZING_VIT_PYTHON;
    process.env.STYLIZING_VIT_PYTHON = "/no/python";
    try {
      await expect(startTorch(root)).rejects.toEqual(failure(/\/no\/python.*STYLIZING_VIT_PYTHON names another/));
    } finally {
      if (before === undefined) delete process.env.STYLIZING_VIT_PYTHON;
      else process.env.STYLIZING_VIT_PYTHON = before;
    }
  });
});
