import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImage } from "../../src/image/decode.js";
import type { PixelImage } from "../../src/image/types.js";
import type { Params } from "../../src/restyle/types.js";
import { goldenFolder } from "../support/fixtures.js";

/** Golden cases of stains, where they lie beside the checkout. */
export interface StainCase {
  method: string;
  content: string;
  style?: string;
  applied: boolean;
  expected: string;
  contentMean?: number[] | null;
  contentDeviation?: number[] | null;
  /** Of Macenko, found in the content. */
  stains?: number[][];
  most?: number[];
  mean?: number;
  [name: string]: unknown;
}

export const stainFolder = goldenFolder("stains");

export const stainCases = (): StainCase[] => JSON.parse(readFileSync(join(stainFolder!, "cases.json"), "utf8")) as StainCase[];

const images = new Map<string, Promise<PixelImage>>();

/** An image of a golden case, in colour. */
export function stainImage(name: string): Promise<PixelImage> {
  const image = images.get(name) ?? decodeImage(join(stainFolder!, name), { channels: 3 });
  images.set(name, image);
  return image;
}

/** What a case says that is drawn or chosen, and not found in the style. */
const ASKED = [
  "space",
  "tissueOnly",
  "scale",
  "shift",
  "table",
  "distribution",
  "stdHyper",
  "zMean",
  "zDeviation",
  "blend",
  "beta",
  "preset",
];

export const askedOf = (one: StainCase): Params =>
  Object.fromEntries(
    Object.entries(one).filter(([name]) => ASKED.includes(name) && !(name === "table" && one.method !== "randstainna")),
  ) as Params;

/** Largest difference of two images, in levels. */
export const levelsApart = (one: Uint8Array, other: Uint8Array): number =>
  one.reduce((most, value, at) => Math.max(most, Math.abs(value - other[at]!)), 0);
