import type { Profile } from "../../src/gpu/profile.js";
import { view } from "../../src/gpu/view.js";
import { type LinearOperands, linear } from "../../src/ops/linear.js";
import { kept, packed } from "../support/elements.js";
import { Contents, flat, inUnits, inWords, memo, type Op, type OpCase, randomOf, sentinels } from "../support/op.js";
import { EPILOGUES, linearRow } from "./linear.case.js";
import { perBatch } from "./published.js";

/** A 3 × 3 convolution as an implicit GEMM: rows are windows of bordered maps. */
export interface WindowsCase extends OpCase {
  images: number;
  side: number;
  inputs: number;
  outputs: number;
  epilogue: "none" | "relu" | "relu_derivative";
  /** Some of the pixels only. */
  band?: { first: number; count: number };
}

export const windowsCases: readonly WindowsCase[] = [
  { name: "one pixel", images: 1, side: 1, inputs: 4, outputs: 4, epilogue: "none" },
  { name: "several maps of one pixel", images: 5, side: 1, inputs: 16, outputs: 32, epilogue: "relu" },
  { name: "an odd side", images: 2, side: 7, inputs: 8, outputs: 12, epilogue: "relu" },
  { name: "images in", images: 2, side: 10, inputs: 4, outputs: 64, epilogue: "relu" },
  { name: "as many channels as matrix units want", images: 2, side: 6, inputs: 64, outputs: 64, epilogue: "relu" },
  { name: "backward, behind ReLU", images: 2, side: 6, inputs: 64, outputs: 32, epilogue: "relu_derivative" },
  { name: "backward to images", images: 3, side: 5, inputs: 64, outputs: 4, epilogue: "none" },
  {
    name: "a band of pixels",
    images: 3,
    side: 5,
    inputs: 32,
    outputs: 8,
    epilogue: "relu",
    band: { first: 17, count: 41 },
  },
  ...perBatch(({ bench, title, batch }): WindowsCase[] =>
    batch > 8
      ? []
      : [
          { name: `${title}: from images`, bench, images: batch, side: 224, inputs: 4, outputs: 64, epilogue: "relu" },
          { name: `${title}: third stage`, bench, images: batch, side: 56, inputs: 256, outputs: 256, epilogue: "relu" },
          {
            name: `${title}: third stage, backward`,
            bench,
            images: batch,
            side: 56,
            inputs: 256,
            outputs: 256,
            epilogue: "relu_derivative",
          },
          { name: `${title}: last stage`, bench, images: batch, side: 14, inputs: 512, outputs: 512, epilogue: "relu" },
        ],
  ),
];

/** Numbers of maps with a border of one pixel. */
const borderedCount = (images: number, side: number, channels: number) => images * (side + 2) ** 2 * channels;

/** Whether a number of bordered maps is a pixel's, and not the border's. */
function isInside(side: number, channels: number, at: number): boolean {
  const [y, x] = [Math.floor(at / channels / (side + 2)) % (side + 2), Math.floor(at / channels) % (side + 2)];
  return y > 0 && y <= side && x > 0 && x <= side;
}

function operandsOf(one: WindowsCase, profile: Profile) {
  const { images, side, inputs, outputs } = one;
  const random = randomOf(one);
  const maps = (channels: number) =>
    random.normals(borderedCount(images, side, channels)).map((x, at) => (isInside(side, channels, at) ? x : 0));
  return {
    input: kept(profile, maps(inputs)),
    weight: kept(profile, random.normals(9 * inputs * outputs, 1 / Math.sqrt(9 * inputs))),
    bias: random.normals(outputs),
    activations: kept(
      profile,
      maps(outputs).map((x) => Math.max(0, x)),
    ),
  };
}

export const linearWindowsOp: Op<WindowsCase> = {
  name: "linear_windows",
  cases: windowsCases,
  setup(one, profile) {
    const { images, side, inputs, outputs, epilogue, band } = one;
    const operands = memo(() => operandsOf(one, profile));
    const pixels = images * (side + 2) ** 2;
    const result = one.bench ? "elem" : "f32";
    const contents = new Contents();
    const maps = (channels: number, of: () => Float32Array) =>
      view(
        contents.add(() => packed(profile, of())),
        "elem",
        pixels,
        channels,
      );
    const count = pixels * outputs;
    const region = inWords(profile, flat(count), result);
    const output = contents.add(() => sentinels(region));
    const call: LinearOperands = {
      x: maps(inputs, () => operands().input),
      w: contents.matrix(profile, "elem", 9 * inputs, outputs, () => operands().weight),
      y: view(output, result, pixels, outputs),
      windows: { images, side, channels: inputs },
    };
    const backward = epilogue === "relu_derivative";
    if (backward) call.derivative = { of: "relu", at: maps(outputs, () => operands().activations) };
    else call.bias = contents.add(() => operands().bias);
    if (epilogue === "relu") call.activation = "relu";
    const whole = linear(profile, call);

    const { first, count: rows } = band ?? { first: 0, count: images * side ** 2 };
    /** Of a pixel, its place among those of bordered maps. */
    const placeOf = (pixel: number) => {
      const [image, y, x] = [Math.floor(pixel / side ** 2), Math.floor(pixel / side) % side, pixel % side];
      return (image * (side + 2) + y + 1) * (side + 2) + x + 1;
    };
    const written = memo(() => new Set(Array.from({ length: rows }, (_, row) => placeOf(first + row))));
    const words = region.cols / pixels;
    return {
      call: band ? whole.bands!.of(band.first, band.count) : whole,
      contents,
      // Nothing but the pixels may change: the border must stay, and what is in front of the band and behind it.
      outputs: [{ buffer: output, kind: result, region, stays: (at) => !written().has(Math.floor(at / words)) }],
      results: [
        {
          size: rows * outputs,
          value: (numbers, at) => numbers[placeOf(first + Math.floor(at / outputs)) * outputs + (at % outputs)]!,
          expected: inUnits(outputs, (row) => {
            const { input, weight, bias, activations } = operands();
            const at = placeOf(first + row);
            const window = new Float64Array(9 * inputs);
            for (let tap = 0; tap < 9; tap++) {
              const from = (at + (Math.floor(tap / 3) - 1) * (side + 2) + (tap % 3) - 1) * inputs;
              window.set(input.subarray(from, from + inputs), tap * inputs);
            }
            const sums = linearRow(outputs, window, weight, backward ? undefined : bias);
            return sums.map((sum, o) => EPILOGUES[epilogue](sum, activations[at * outputs + o]!));
          }),
        },
      ],
      flops: whole.flops,
      shape: `${images} × ${side} × ${side}, ${inputs} to ${outputs} ${epilogue}`,
    };
  },
};
