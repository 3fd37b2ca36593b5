import { maxPool } from "../../src/ops/features.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import { countOf, firstMaximum, levelCases, type MapsCase, mapsCases, mapsInput, mapsOutput, pooled, shapeOf } from "./maps.js";

export const maxPoolCases: readonly MapsCase[] = [...mapsCases.filter(({ side }) => side > 1), ...levelCases];

export const maxPoolOp: Op<MapsCase> = {
  name: "max_pool",
  cases: maxPoolCases,
  setup(one, profile) {
    const { images, side, channels } = one;
    const f = memo(() => kept(profile, randomOf(one).normals(countOf(one))));
    const contents = new Contents();
    const y = mapsOutput(contents, profile, one, pooled(one), (at) => f()[firstMaximum(one, f(), at)]!);
    return {
      call: maxPool(profile, {
        ...{ images, side, channels },
        x: mapsInput(contents, profile, one, f, one.front),
        y: y.view,
      }),
      contents,
      outputs: [y.output],
      // A maximum is one of its operands: there is nothing to round.
      results: [{ ...y.result, tolerance: () => ({ bound: 0 }) }],
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
