import { clearMargin, paddedChannels } from "../../src/ops/features.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import { countOf, levelCases, type MapsCase, mapsCases, mapsOutput, shapeOf } from "./maps.js";

export interface ClearMarginCase extends MapsCase {
  height: number;
  width: number;
}

/** Images that are too flat, too narrow, and both. */
const sized = (one: MapsCase, at: number): ClearMarginCase => {
  const part = Math.floor((2 * one.side) / 3);
  return { ...one, height: at % 3 === 1 ? one.side : part, width: at % 3 === 0 ? one.side : part };
};

export const clearMarginCases: readonly ClearMarginCase[] = [...mapsCases.filter(({ side }) => side > 1), ...levelCases].map(
  sized,
);

export const clearMarginOp: Op<ClearMarginCase> = {
  name: "clear_margin",
  cases: clearMarginCases,
  setup(one, profile) {
    const { images, side, channels, height, width } = one;
    const f = memo(() => kept(profile, randomOf(one).normals(countOf(one))));
    const contents = new Contents();
    const isInside = (x: number, y: number) => x < width && y < height;
    const expected = (at: number) => {
      const pixel = Math.floor(at / channels) % side ** 2;
      return isInside(pixel % side, Math.floor(pixel / side)) ? f()[at]! : 0;
    };
    const y = mapsOutput(contents, profile, one, one, expected, f);
    const stride = (paddedChannels(channels) * profile.elementBytes) / 4;
    const stays = (word: number) => {
      const place = Math.floor(word / stride) % (side + 2) ** 2;
      return isInside((place % (side + 2)) - 1, Math.floor(place / (side + 2)) - 1);
    };
    return {
      call: clearMargin(profile, { images, side, channels, height, width, maps: y.view }),
      contents,
      outputs: [{ ...y.output, adds: true, stays }],
      results: [{ ...y.result, tolerance: () => ({ bound: 0 }) }],
      flops: 0,
      shape: `${shapeOf(one)} to ${height} × ${width}`,
    };
  },
};
