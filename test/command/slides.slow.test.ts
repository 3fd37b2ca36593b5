import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { mulberry32 } from "../../src/random.js";
import { svsFile } from "../image/svs.js";
import { build, fresh, imageFile, listFiles, paint, start, stylize } from "./command.js";
import { killedAfter, peakOf, slideFile } from "./slides.js";

let style: string;
beforeAll(async () => {
  await build();
  style = await imageFile(fresh("style.png"), 3);
});

describe.skipIf(!existsSync("/proc/self"))("memory", () => {
  it("grows with the width alone, by 3 kB a pixel at most, from 20 000 to 40 000 pixels a side of a slide that is drawn by rows and painted by nobody", async () => {
    const small = await peakOf(20_000, 20_000, fresh());
    const large = await peakOf(40_000, 40_000, fresh());
    process.stdout.write(`${JSON.stringify({ small, large })}\n`);
    // About one of them is rows; the rest is V8's young generation, which comes to its bound in the longer run alone, and the C library's.
    expect(large.largest).toBeLessThan(small.largest + 3000 * 20_000);
    expect(large.largest).toBeLessThan(245e6);
    // Linear in the pixels, with room for a machine that others use.
    expect(large.milliseconds).toBeLessThan(8 * small.milliseconds);
  }, 1_200_000);

  it("of the command is nearly the same for 4 000 and for 8 000 pixels a side", async () => {
    const peaks: number[] = [];
    for (const side of [4000, 8000]) {
      const slide = await svsFile(fresh("scan.svs"), { width: side, height: side });
      const { child, finished } = start(paint([slide], [style], fresh()), { longest: 600_000 });
      let peak = 0;
      const timer = setInterval(() => {
        try {
          const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
          peak = Math.max(peak, 1024 * Number(kilobytes ?? 0));
        } catch {
          // It has ended.
        }
      }, 20);
      const { code, stderr } = await finished;
      clearInterval(timer);
      expect(code, stderr).toBe(0);
      peaks.push(peak);
    }
    process.stdout.write(`${JSON.stringify(peaks)}\n`);
    expect(peaks[1]).toBeLessThan(1.1 * peaks[0]! + 60e6);
  }, 600_000);
});

it("a grey model paints a slide into a grey one", async () => {
  const [slide, out, config] = [
    await svsFile(fresh("grey.svs"), { width: 900, height: 700, channels: 1 }),
    fresh(),
    fresh("grey.json"),
  ];
  const shape = { image_size: 32, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2, in_channels: 1, mean: [0.6], std: [0.2] };
  writeFileSync(config, JSON.stringify(shape));
  const args = [...stylize([slide], [style], out), "--model", "hashed:3", "--config", config, "--scale", ".2"];
  const { code, stderr } = await start(args).finished;
  expect(code, stderr).toBe(0);
  expect(await sharp(join(out, "grey.tif")).metadata()).toMatchObject({ width: 900, height: 700, channels: 1 });
});

it.skipIf(process.platform === "win32")(
  "a slide that is killed at any of twenty moments is not there, and nothing stays behind the next start",
  async () => {
    const [file, out] = [await slideFile(), fresh()];
    const random = mulberry32(11);
    let left = 0;
    for (let time = 0; time < 20; time++) {
      left += (await killedAfter(2500 * random(), file, style, out)).length;
    }
    expect(left).toBeGreaterThan(10);
    const { code, stderr } = await start(paint([file], [style], out)).finished;
    expect(code, stderr).toBe(0);
    expect(listFiles(out)).toEqual(["large.tif"]);
  },
  600_000,
);
