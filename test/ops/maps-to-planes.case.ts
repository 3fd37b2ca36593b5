import { mapsToPlanes } from "../../src/ops/features.js";
import { kept } from "../support/elements.js";
import { Contents, memo, type Op, randomOf } from "../support/op.js";
import { countOf, imageCases, inPlanes, type MapsCase, mapsInput, planesCases, shapeOf } from "./maps.js";

export interface MapsToPlanesCase extends MapsCase {
  accumulate?: boolean;
}

export const mapsToPlanesCases: readonly MapsToPlanesCase[] = [...planesCases, ...imageCases];

export const mapsToPlanesOp: Op<MapsToPlanesCase> = {
  name: "maps_to_planes",
  cases: [false, true].flatMap((accumulate) => mapsToPlanesCases.map((one) => ({ ...one, accumulate }))),
  setup(one, profile) {
    const { images, side, channels, front = 0, accumulate = false } = one;
    const count = countOf(one);
    const operands = memo(() => {
      const random = randomOf(one);
      return { planes: kept(profile, random.normals(count)), old: random.normals(count) };
    });
    const contents = new Contents();
    const transposed = () => {
      const { planes } = operands();
      return planes.map((_, at) => planes[inPlanes(one, at)]!);
    };
    const old = accumulate ? () => operands().old : undefined;
    const planes = contents.output(profile, "f32", 1, count, { first: front * channels * side ** 2 }, old);
    return {
      call: mapsToPlanes(profile, {
        ...{ images, side, channels, accumulate },
        maps: mapsInput(contents, profile, one, transposed, front),
        planes: planes.view,
      }),
      contents,
      outputs: [planes.output],
      results: [{ size: count, expected: (at) => operands().planes[at]! + (accumulate ? operands().old[at]! : 0) }],
      flops: 0,
      shape: `${shapeOf(one)}${accumulate ? " added" : ""}`,
    };
  },
};
