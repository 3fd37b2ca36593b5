import { describe, expect, it } from "vitest";
import { enlarged, heatMap } from "../../src/image/heat-map.js";

const grey = (width: number, height: number, level = 100) =>
  ({ data: new Uint8Array(width * height).fill(level), width, height, channels: 1 }) as const;

describe("heatMap", () => {
  it("gives every value a rectangle of its own, the largest the brightest, and no blending between", () => {
    const { data, width, height, channels } = heatMap(grey(6, 4), [0, 1, 2, 4, 0, 0], 2, 3);
    expect([width, height, channels]).toEqual([6, 4, 3]);
    const at = (x: number, y: number) => Array.from(data.subarray((y * 6 + x) * 3, (y * 6 + x) * 3 + 3));
    for (let y = 0; y < 4; y++) for (let x = 0; x < 6; x++) expect(at(x, y)).toEqual(at(x - (x % 2), y - (y % 2)));
    const light = ([r, g, b]: number[]) => 0.299 * r! + 0.587 * g! + 0.114 * b!;
    const [zero, one, two, four] = [at(0, 0), at(2, 0), at(4, 0), at(0, 2)].map(light) as [number, number, number, number];
    expect(four).toBeGreaterThan(two);
    expect(two).toBeGreaterThan(one);
    expect(at(2, 2)).toEqual(at(0, 0));
    // Nothing looked at: the image, darker.
    expect(zero).toBeLessThan(100);
    expect(zero).toBeGreaterThan(40);
  });

  it("shows the image through, colours as their luma, and takes a map of zeros", () => {
    const red = { data: Uint8Array.from([255, 0, 0, 0, 0, 255]), width: 2, height: 1, channels: 3 } as const;
    const { data } = heatMap(red, [0], 1, 1);
    expect(Math.abs(data[0]! - data[1]!)).toBeLessThan(2);
    expect(data[0]).toBeGreaterThan(data[3]!);
  });
});

it("enlarged repeats pixels", () => {
  const image = { data: Uint8Array.from([1, 2, 3, 4]), width: 2, height: 2, channels: 1 } as const;
  expect(Array.from(enlarged(image, 2).data)).toEqual([1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
});
