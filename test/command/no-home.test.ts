import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Failure, imageFiles, listFiles, run, runJson, stylize } from "./command.js";
import { as, findsNothingAmiss, NEIGHBOUR, needUser, refuses, temporary } from "./no-home.js";

describe("where no cache folder of the user's can be written", () => {
  it.for<readonly [string, (folder: string) => Record<string, string | undefined>]>([
    ["there is no HOME", () => ({})],
    [
      "XDG_CACHE_HOME cannot be written",
      (folder) => {
        mkdirSync(join(folder, "cache"), { mode: 0o755 });
        return { XDG_CACHE_HOME: join(folder, "cache") };
      },
    ],
  ])("doctor finds nothing amiss: %s", ([, make], test) => findsNothingAmiss(make, test));

  it("local models paint, and a download says where it could be kept", async (test) => {
    needUser(test);
    const tmp = temporary();
    const out = join(tmp, "out");
    const [content, style] = [await imageFiles("content"), await imageFiles("style")];
    expect(await run(stylize(content, style, out), as(tmp))).toMatchObject({ code: 0 });
    expect(listFiles(out)).toEqual(["content.png"]);

    const published = [...stylize(content, style, join(tmp, "not")), "--model", "tiny/camelyon17wilds"];
    for (const HOME of [undefined, ""]) {
      const { error } = await runJson<Failure>(published, 1, as(tmp, { HOME }));
      expect(error).toMatchObject({ code: "DOWNLOAD", message: expect.stringMatching(/home folder, and this user has none/) });
      expect(error.fix).toContain("HF_HOME");
    }
  });
});

describe("where the folder among temporary files is not to be trusted", () => {
  it.for<readonly [string, (folder: string, tmp: string) => void]>([
    [
      "another user's",
      (folder) => {
        mkdirSync(folder);
        chownSync(folder, NEIGHBOUR, NEIGHBOUR);
        chmodSync(folder, 0o777);
      },
    ],
  ])("nothing is loaded from it, and the cure is named: it is %s", ([, make], test) => refuses(make, test));
});
