import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { PixelImage } from "../../src/image/types.js";
import { fraction } from "../../src/random.js";
import { ClosedForms } from "../../src/restyle/closed-forms.js";
import { METHODS } from "../../src/restyle/methods.js";
import type { Params } from "../../src/restyle/types.js";
import { HOSPITALS, paintTissue } from "../../src/tissue/painter.js";
import { shared } from "../support/fixtures.js";
import { gpuOfThisFile } from "../support/gpu.js";

const gpu = gpuOfThisFile();
const PYTHON = "/usr/bin/python3";
const reference = join(shared, "reference");

function missing(): string {
  if (!existsSync(join(reference, "stains.py"))) return "no oracle beside the checkout";
  try {
    execFileSync(PYTHON, ["-c", "import numpy"], { stdio: "ignore" });
    return "";
  } catch {
    return `no numpy for ${PYTHON}`;
  }
}
const lacking = missing();

type Packed = { width: number; height: number; data: string };
const packed = ({ data, width, height }: PixelImage): Packed => ({ width, height, data: Buffer.from(data).toString("base64") });

/** Drawn tissue of a hospital's stain, cut to a size. */
function tissue(seed: number, width: number, height: number): PixelImage {
  const size = Math.max(width, height, 32);
  const { data } = paintTissue({ seed, size, hospital: HOSPITALS[seed % HOSPITALS.length]! });
  const cut = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) cut.set(data.subarray(3 * y * size, 3 * (y * size + width)), 3 * y * width);
  return { data: cut, width, height, channels: 3 };
}

/** Levels anywhere, 0 and 255 too. */
const noise = (seed: number, width: number, height: number): PixelImage => ({
  data: Uint8Array.from({ length: 3 * width * height }, (_, at) => Math.floor(256 * fraction(seed, at))),
  ...{ width, height, channels: 3 },
});

const TABLE = { avg_mean: [158, 151, 117], avg_std: [20, 6, 6], std_mean: [39, 9, 9], std_std: [6, 2, 2] };

/** Numbers beside those that are drawn. */
const GIVEN: Readonly<Record<string, readonly Params[]>> = {
  reinhard: [{}, { space: "opponent" }, { tissueOnly: true }],
  "macenko-augment": [{}, { tissueOnly: true }],
  "hed-jitter": [{}, { theta: 0.2 }],
  "he-stain": [{ tissueOnly: true }, { stains: [[0.6, 0.7, 0.4], [0.1, 0.9, 0.3]] }], // biome-ignore format: a matrix
  randstainna: [{ table: TABLE }, { table: TABLE, distribution: "laplace" }, { table: TABLE, distribution: "uniform" }, {}],
  fda: [{}, { beta: 0.03 }, { beta: 0.2 }],
  "histogram-match": [{}, { blend: 0.4 }],
};

describe.skipIf(lacking !== "")(`results of closed forms${lacking ? `: ${lacking}` : ""}`, () => {
  it("are the oracle's, recomputed from their numbers, within a level", async () => {
    await using forms = await ClosedForms.open({ device: gpu().device });
    const contents = [tissue(1, 96, 80), tissue(2, 61, 97), tissue(3, 128, 33), noise(4, 40, 30), noise(5, 3, 2)];
    const styles = contents.map((_, at) => tissue(9 + at, 70, 45));
    const cases: { method: string; params: Params; content: Packed; expected: Packed; style: Packed | null }[] = [];
    const applied: boolean[] = [];
    for (const { name, settle } of METHODS) {
      if (name === "stylizing-vit") continue;
      const jobs = contents.flatMap((content, at) =>
        (GIVEN[name] ?? [{}]).map((given, which) => {
          // FDA's style is scaled first, which is not what is compared here.
          const style = name === "fda" ? noise(9 + at, content.width, content.height) : styles[at]!;
          return { content, style, params: settle(given, (index) => fraction(at, which, index)) };
        }),
      );
      for (const [at, { image, params, applied: done }] of (await forms.restyler(name).restyle(jobs)).entries()) {
        const { content, style } = jobs[at]!;
        const asImage = ["colorist", "fda", "histogram-match"].includes(name);
        cases.push({
          method: name,
          params,
          content: packed(content),
          expected: packed(image),
          style: asImage ? packed(style) : null,
        });
        applied.push(done);
      }
    }
    const script = fileURLToPath(new URL("recompute.py", import.meta.url));
    const text = execFileSync(PYTHON, [script, reference], { input: JSON.stringify(cases), encoding: "utf8" });
    const answers = JSON.parse(text) as { apart: number; applied: boolean }[];
    expect(answers.length).toBe(105);
    const off = answers.flatMap((answer, at) =>
      answer.apart > 1 || answer.applied !== applied[at]
        ? [{ ...answer, method: cases[at]!.method, params: cases[at]!.params }]
        : [],
    );
    expect(off).toEqual([]);
    // A few of noise and of next to nothing decline.
    expect(applied.filter(Boolean).length).toBeGreaterThan(90);
  });
});
