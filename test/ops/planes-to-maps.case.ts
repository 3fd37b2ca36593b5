import { numbersOf } from "../../src/gpu/view.js";
import { planesToMaps } from "../../src/ops/features.js";
import { behind, Contents, memo, type Op, randomOf } from "../support/op.js";
import { countOf, imageCases, inPlanes, type MapsCase, mapsOutput, planesCases, shapeOf } from "./maps.js";

export const planesToMapsCases: readonly MapsCase[] = [...planesCases, ...imageCases];

export const planesToMapsOp: Op<MapsCase> = {
  name: "planes_to_maps",
  cases: planesToMapsCases,
  setup(one, profile) {
    const { images, side, channels, front = 0 } = one;
    const count = countOf(one);
    const first = front * channels * side ** 2;
    const values = memo(() => randomOf(one).normals(count));
    const contents = new Contents();
    const planes = numbersOf(
      contents.add(() => behind(first, values())),
      count,
      first,
    );
    const maps = mapsOutput(contents, profile, one, one, (at) => values()[inPlanes(one, at)]!);
    return {
      call: planesToMaps(profile, { images, side, channels, planes, maps: maps.view }),
      contents,
      outputs: [maps.output],
      results: [maps.result],
      flops: 0,
      shape: shapeOf(one),
    };
  },
};
