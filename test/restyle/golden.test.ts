import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClosedForms } from "../../src/restyle/closed-forms.js";
import { RestyleEngine } from "../../src/restyle/engine.js";
import { methodNamed } from "../../src/restyle/methods.js";
import { momentsOf, stainsOf } from "../../src/restyle/records.js";
import { formOf } from "../../src/restyle/ways.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { askedOf, levelsApart, type StainCase, stainCases, stainFolder, stainImage } from "./golden.js";

const gpu = gpuOfThisFile();

/** Numbers within a bound, of their largest where that is above 1. */
function expectNear(actual: unknown, expected: unknown, bound: number): void {
  const [mine, theirs] = [[actual].flat(2) as number[], [expected].flat(2) as number[]];
  expect(mine.length).toBe(theirs.length);
  const scale = Math.max(1, ...theirs.map(Math.abs));
  for (const [at, value] of theirs.entries()) expect(Math.abs(mine[at]! - value)).toBeLessThanOrEqual(bound * scale);
}
const cases = stainFolder ? stainCases().filter(({ method }) => method !== "tissue-weight") : [];

describe.skipIf(!stainFolder)(`closed forms of golden cases${stainFolder ? "" : ": none beside the checkout"}`, () => {
  let forms: ClosedForms;
  beforeAll(async () => {
    if (gpu()) forms = await ClosedForms.open({ device: gpu().device });
  });
  afterAll(() => forms?.dispose());

  const title = (one: StainCase, at: number) => `${at} ${one.method} of ${one.content}${one.style ? ` as ${one.style}` : ""}`;
  it.each(cases.map((one, at) => [title(one, at), one] as const))("%s", async (_, one) => {
    const method = methodNamed(one.method);
    const params = method.settle(askedOf(one), () => 0.5);
    const content = await stainImage(one.content);
    const style = one.style === undefined ? undefined : await stainImage(one.style);
    const [result] = await forms.restyler(one.method).restyle([{ content, style, params }]);
    expect(result!.applied).toBe(one.applied);
    for (const name of ["targetMean", "targetDeviation", "targetStains", "targetMost"])
      if (one[name] !== undefined) expectNear(result!.params[name], one[name], 1e-4);
    const apart = levelsApart(result!.image.data, (await stainImage(one.expected)).data);
    expect(apart).toBeLessThanOrEqual(one.applied ? 1 : 0);
  });

  it("statistics of contents are those of the cases, and who has no stains has none", async () => {
    const engine = new RestyleEngine(gpu());
    let measured = 0;
    for (const one of cases) {
      const found = one.contentMean !== undefined || one.method.startsWith("macenko");
      if (!found) continue;
      const way = formOf(one.method)!.way(methodNamed(one.method).settle(askedOf(one), () => 0.5));
      const [record] = await engine.measure(way, [await stainImage(one.content)]);
      if (one.contentMean) {
        const { mean, deviation } = momentsOf(record!);
        expectNear(mean, one.contentMean, 1e-4);
        expectNear(deviation, one.contentDeviation, 1e-4);
      } else if (one.stains) {
        const { stains, most } = stainsOf(record!)!;
        const bound = one.content === "bars.png" ? 1e-3 : 1e-4;
        expectNear(stains, one.stains, bound);
        expectNear(most, one.most, bound);
      } else if (!one.applied && one.method.startsWith("macenko")) expect(stainsOf(record!)).toBeUndefined();
      else continue;
      measured++;
    }
    expect(measured).toBeGreaterThanOrEqual(20);
    engine.dispose();
  });

  it("RandStainNA's table of the four tiles is what numpy has", async () => {
    const table = await forms.fitRandStainNA(await Promise.all([0, 1, 2, 3].map((at) => stainImage(`tile${at}.png`))));
    expectNear(table.avg_mean, [155.78054306, 157.69090587, 103.44648915], 1e-6);
    expectNear(table.avg_std, [19.34758777, 5.30726947, 8.57415038], 1e-6);
    expectNear(table.std_mean, [36.78006967, 8.58741775, 8.80157436], 1e-6);
    expectNear(table.std_std, [5.63725057, 1.75160881, 1.8596076], 1e-6);
  });

  it("mean tissue weights are those of the cases", async () => {
    const engine = new RestyleEngine(gpu());
    const weights = stainCases().filter(({ method }) => method === "tissue-weight");
    expect(weights.length).toBe(6);
    const way = formOf("reinhard")!.way({ space: "lab", tissueOnly: true });
    for (const one of weights) {
      const [record] = await engine.measure(way, [await stainImage(one.content)]);
      expectNear(momentsOf(record!).weight, one.mean, 1e-5);
    }
    engine.dispose();
  });
});
