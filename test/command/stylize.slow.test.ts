import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { build, fresh, imageFiles, levelsApart, micro, runJson, stylize } from "./command.js";

beforeAll(build);

describe("--batch", () => {
  it("changes the speed and not the images", async () => {
    const [contents, styles] = [await imageFiles("a", "b", "c"), await imageFiles("s", "tt", "uuu")];
    const [one, three] = [fresh("out"), fresh("out")];
    await runJson([...stylize(contents, styles, one, "--batch", "1"), ...micro()]);
    await runJson([...stylize(contents, styles, three, "--batch", "3"), ...micro()]);
    for (const name of ["a.png", "b.png", "c.png"]) {
      expect(await levelsApart(join(one, name), join(three, name))).toBeLessThanOrEqual(1);
    }
  });
});
