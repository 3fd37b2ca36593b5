import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClosedForms } from "../../src/restyle/closed-forms.js";
import { methodNamed } from "../../src/restyle/methods.js";
import { gpuOfThisFile } from "../support/gpu.js";
import { askedOf, levelsApart, type StainCase, stainCases, stainFolder, stainImage } from "./golden.js";

const gpu = gpuOfThisFile();
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
    const apart = levelsApart(result!.image.data, (await stainImage(one.expected)).data);
    expect(apart).toBeLessThanOrEqual(one.applied ? 1 : 0);
  });
});
