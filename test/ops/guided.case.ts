import {
  guidedApply,
  guidedFit,
  guidedMoments,
  guidedSmooth,
  type Piece,
  type Place,
  pieceWords,
  placeWords,
  resultWordsOf,
} from "../../src/ops/guided.js";
import { Contents, flat, inUnits, memo, type Op, type OpCase, randomOf, sentinels } from "../support/op.js";
import { boxAlong, fitMap, products, type Rectangle, tissueWeight } from "./guided.oracle.js";
import { PUBLISHED_IMAGE, perBatch } from "./published.js";

const WHOLE = (side: number): Rectangle => ({ left: 0, top: 0, width: side, height: side });

export interface GuidedCase extends OpCase {
  /** Rectangles of all slots. */
  rectangles: readonly Rectangle[];
  height: number;
  width: number;
  radius: number;
  channels?: 1 | 3;
  firstSlot?: number;
  /** All slots have the first one's content. */
  shared?: boolean;
  /** Tiles of one image of these sides, `column` and `row` apart. */
  tiles?: { rows: number; columns: number; column: number; row: number };
}

export const guidedCases: readonly GuidedCase[] = [
  { name: "one pixel", rectangles: [WHOLE(1)], height: 1, width: 1, radius: 6 },
  { name: "a square", rectangles: [WHOLE(17)], height: 17, width: 17, radius: 3 },
  {
    name: "padding above, below and beside",
    ...{ height: 20, width: 20, radius: 2 },
    rectangles: [
      { left: 0, top: 7, width: 20, height: 5 },
      { left: 6, top: 0, width: 9, height: 20 },
      { left: 9, top: 9, width: 1, height: 1 },
    ],
  },
  { name: "a radius beyond the image", rectangles: [WHOLE(9), WHOLE(9)], height: 9, width: 9, radius: 12 },
  {
    name: "grey, slots from the second on",
    rectangles: [WHOLE(8), WHOLE(8), WHOLE(8)],
    height: 8,
    width: 8,
    radius: 2,
    channels: 1,
    firstSlot: 1,
  },
  { name: "one content for all", rectangles: [WHOLE(10), WHOLE(10)], height: 10, width: 10, radius: 2, shared: true },
  {
    name: "tiles of an image",
    ...{ height: 12, width: 14, radius: 3, tiles: { rows: 12, columns: 31, column: 9, row: 0 } },
    rectangles: [
      { left: 0, top: 0, width: 14, height: 12 },
      { left: 0, top: 0, width: 14, height: 12 },
      { left: 0, top: 0, width: 13, height: 12 },
    ],
  },
  ...perBatch(({ bench, title, batch }): GuidedCase[] => {
    const side = PUBLISHED_IMAGE.imageSize;
    const rectangles = Array.from({ length: Math.min(batch, 4) }, () => WHOLE(side));
    return [{ name: `${title}: maps of colours`, bench, rectangles, height: side, width: side, radius: 12 }];
  }),
];

const EPSILON = 1e-3;

/** What the cases' ops share: geometry, and images whose paintings follow from their contents. */
function scene(one: GuidedCase) {
  const { rectangles, height, width, channels = 3, firstSlot = 0, tiles } = one;
  const { rows, columns } = tiles ?? { rows: height, columns: width };
  const places: Place[] = rectangles.map((rectangle, slot) => ({
    rectangle,
    column: (tiles?.column ?? 0) * slot,
    row: (tiles?.row ?? 0) * slot,
    content: tiles || one.shared ? 0 : slot,
    painted: tiles ? 0 : slot,
  }));
  const images = tiles ? 1 : rectangles.length;
  const size = images * rows * columns;
  const content = memo(() => {
    const random = randomOf(one);
    return Uint8Array.from({ length: size * channels }, (_, at) => {
      // Smooth regions, edges, and some noise.
      const place = Math.floor(at / channels);
      return Math.round(90 + 80 * Math.sin(place * 0.31 + (at % channels)) + random.uniform(0, 60));
    });
  });
  const painted = memo(() => {
    const random = randomOf({ ...one, name: `${one.name} painted` });
    return Float32Array.from({ length: size * channels }, (_, at) => 0.2 + 0.5 * (content()[at]! / 255) + random.uniform(0, 0.2));
  });
  /** Means of products along rows of a slot: [height, width, 24]. */
  const moments = inUnits(1, (slot) => {
    const { rectangle, column, row, content: from, painted: of } = places[slot]!;
    const all = new Float64Array(height * width * 24);
    for (let y = rectangle.top; y < rectangle.top + rectangle.height; y++)
      for (let x = rectangle.left; x < rectangle.left + rectangle.width; x++) {
        const pixel = (image: number) => (image * rows + row + y) * columns + column + x;
        const rgb = (at: number, of: ArrayLike<number>, scale: number) =>
          [0, 1, 2].map((c) => of[at * channels + (channels === 1 ? 0 : c)]! / scale);
        // A quotient of sums comes back rounded; so does the oracle's.
        all.set(products(rgb(pixel(from), content(), 255), rgb(pixel(of), painted(), 1)), (y * width + x) * 24);
      }
    return [boxAlong(all, { height, width, each: 24 }, rectangle, one.radius, false)] as unknown as ArrayLike<number>;
  }) as unknown as (slot: number) => Float64Array;
  return {
    places,
    rows,
    columns,
    content,
    painted,
    moments,
    channels,
    firstSlot,
    slots: rectangles.length - firstSlot,
  };
}

/** Words of slots' pixels that lie in their rectangles; the others stay. */
const outside = (one: GuidedCase, each: number, firstSlot: number) => (at: number) => {
  const pixel = Math.floor(at / each);
  const { left, top, width, height } = one.rectangles[firstSlot + Math.floor(pixel / (one.height * one.width))]!;
  const [y, x] = [Math.floor(pixel / one.width) % one.height, pixel % one.width];
  return x < left || y < top || x >= left + width || y >= top + height;
};

const asWords = (bytes: Uint8Array): Uint32Array => {
  const words = new Uint32Array(Math.ceil(bytes.length / 4));
  new Uint8Array(words.buffer).set(bytes);
  return words;
};

/** An op from numbers of every pixel to numbers of every pixel, inside the rectangles. */
function perPixel(one: GuidedCase, each: number, expected: (slot: number) => ArrayLike<number>) {
  const { slots, firstSlot } = scene(one);
  const pixels = one.height * one.width;
  const region = flat(slots * pixels * each);
  const stays = outside(one, each, firstSlot);
  const numbers = inUnits(pixels * each, (index) => expected(firstSlot + index));
  return {
    region,
    stays,
    result: {
      size: slots * pixels * each,
      value: (values: ArrayLike<number>, at: number) => (stays(at) ? 0 : values[at]!),
      expected: (at: number) => (stays(at) ? 0 : numbers(at)),
      place: (at: number) =>
        `slot ${Math.floor(at / each / pixels)}, pixel ${Math.floor(at / each) % pixels}, number ${at % each}`,
    },
  };
}

export const guidedMomentsOp: Op<GuidedCase> = {
  name: "guided_moments",
  cases: guidedCases,
  setup(one, profile) {
    const { places, rows, columns, content, painted, moments, channels, firstSlot, slots } = scene(one);
    const { height, width, radius } = one;
    const contents = new Contents();
    const { region, stays, result } = perPixel(one, 24, (slot) => moments(slot));
    const output = contents.add(() => sentinels(region));
    return {
      call: guidedMoments(profile, {
        ...{ slots, firstSlot, height, width, radius, channels, rows, columns },
        places: contents.add(() => placeWords(places)),
        content: contents.add(() => asWords(content())),
        painted: contents.add(painted),
        moments: output,
      }),
      contents,
      outputs: [{ buffer: output, kind: "f32", region, stays }],
      results: [result],
      flops: 0,
      shape: `${slots} × ${height} × ${width}`,
    };
  },
};

export const guidedFitOp: Op<GuidedCase> = {
  name: "guided_fit",
  cases: guidedCases,
  setup(one, profile) {
    const { places, moments, firstSlot, slots } = scene(one);
    const { height, width, radius } = one;
    const contents = new Contents();
    const inputs = memo(() =>
      Array.from({ length: slots }, (_, index) => Float32Array.from(moments(firstSlot + index), (value) => value)),
    );
    const { region, stays, result } = perPixel(one, 12, (slot) => {
      const means = boxAlong(inputs()[slot - firstSlot]!, { height, width, each: 24 }, one.rectangles[slot]!, radius, true);
      const maps = new Float64Array(height * width * 12).fill(Number.NaN);
      for (let k = 0; k < height * width; k++)
        if (!Number.isNaN(means[24 * k]!)) maps.set(fitMap(means.subarray(24 * k, 24 * k + 24), EPSILON), 12 * k);
      return maps;
    });
    const output = contents.add(() => sentinels(region));
    return {
      call: guidedFit(profile, {
        ...{ slots, firstSlot, height, width, radius, epsilon: EPSILON },
        places: contents.add(() => placeWords(places)),
        moments: contents.add(() => {
          const all = new Float32Array(slots * height * width * 24);
          for (const [index, values] of inputs().entries()) all.set(values, index * height * width * 24);
          return all;
        }),
        coefficients: output,
      }),
      contents,
      outputs: [{ buffer: output, kind: "f32", region, stays }],
      // Covariances are differences of means in [0, 1]: 2^-24 of them against an epsilon of 1e-3 is 6e-5 of a map.
      results: [{ ...result, tolerance: () => ({ bound: 5e-5 }) }],
      flops: 0,
      shape: `${slots} × ${height} × ${width}`,
    };
  },
};

export interface SmoothCase extends GuidedCase {
  vertical: boolean;
}

export const smoothCases: readonly SmoothCase[] = guidedCases.flatMap((one) =>
  one.tiles
    ? []
    : [false, true].map((vertical) => ({
        ...one,
        name: `${one.name}, ${vertical ? "columns" : "rows"}`,
        vertical,
      })),
);

export const guidedSmoothOp: Op<SmoothCase> = {
  name: "guided_smooth",
  cases: smoothCases,
  setup(one, profile) {
    const { height, width, radius, vertical } = one;
    const { places, firstSlot, slots } = scene(one);
    const contents = new Contents();
    const each = height * width * 12;
    const maps = memo(() => randomOf(one).uniforms(slots * each, -1, 2));
    const { region, stays, result } = perPixel(one, 12, (slot) => {
      const own = maps().subarray((slot - firstSlot) * each, (slot - firstSlot + 1) * each);
      return boxAlong(own, { height, width, each: 12 }, one.rectangles[slot]!, radius, vertical);
    });
    const output = contents.add(() => sentinels(region));
    return {
      call: guidedSmooth(profile, {
        ...{ slots, firstSlot, height, width, radius, vertical },
        places: contents.add(() => placeWords(places)),
        input: contents.add(maps),
        output,
      }),
      contents,
      outputs: [{ buffer: output, kind: "f32", region, stays }],
      results: [result],
      flops: 0,
      shape: `${slots} × ${height} × ${width}`,
    };
  },
};

export interface ApplyCase extends OpCase {
  /** Sides of the maps of a slot. */
  height: number;
  width: number;
  channels?: 1 | 3;
  background?: readonly number[];
  firstSlot?: number;
  /** A content of its own each: its sides, and the tile of it that is written, all of it where none is said. */
  pieces: readonly { content: readonly [width: number, height: number]; tile?: Rectangle }[];
  /** Glass on the right and tissue of one stain on the left, instead of the other way round. */
  mirrored?: boolean;
}

export const applyCases: readonly ApplyCase[] = [
  { name: "one pixel to one", height: 1, width: 1, pieces: [{ content: [1, 1] }] },
  { name: "the same size", height: 6, width: 7, pieces: [{ content: [7, 6] }] },
  { name: "enlarged, odd", height: 5, width: 6, pieces: [{ content: [31, 23] }] },
  { name: "reduced", height: 12, width: 9, pieces: [{ content: [4, 5] }] },
  { name: "one column", height: 8, width: 8, pieces: [{ content: [1, 37] }] },
  { name: "one row of two pixels past a word", height: 4, width: 4, pieces: [{ content: [6, 1] }] },
  { name: "grey", height: 5, width: 5, channels: 1, pieces: [{ content: [13, 7] }] },
  { name: "bare glass stays", height: 5, width: 5, background: [1, 1, 1], pieces: [{ content: [19, 14] }] },
  // The last quad's means end one column beyond the row.
  {
    name: "bare glass, a row of two quads and a pixel",
    height: 5,
    width: 5,
    background: [1, 1, 1],
    mirrored: true,
    pieces: [{ content: [9, 11] }],
  },
  { name: "tinted glass, grey", height: 5, width: 5, channels: 1, background: [0.9, 0.8, 0.95], pieces: [{ content: [9, 8] }] },
  {
    name: "tiles, whole images, and slots from the second on",
    height: 6,
    width: 5,
    background: [1, 1, 1],
    firstSlot: 1,
    pieces: [
      { content: [2, 2] },
      { content: [17, 20], tile: { left: 0, top: 0, width: 17, height: 9 } },
      { content: [17, 20], tile: { left: 6, top: 9, width: 10, height: 11 } },
      { content: [3, 2] },
      { content: [5, 5], tile: { left: 2, top: 2, width: 0, height: 0 } },
    ],
  },
  ...perBatch(({ bench, title, batch }): ApplyCase[] => [
    {
      ...{ name: `${title}: 512 pixels`, bench, height: PUBLISHED_IMAGE.imageSize, width: PUBLISHED_IMAGE.imageSize },
      pieces: Array.from({ length: Math.min(batch, 4) }, () => ({ content: [512, 512] as const })),
    },
  ]),
];

export const guidedApplyOp: Op<ApplyCase> = {
  name: "guided_apply",
  cases: applyCases,
  setup(one, profile) {
    const { height, width, channels = 3, background, firstSlot = 0 } = one;
    const slots = one.pieces.length - firstSlot;
    const random = memo(() => randomOf(one));
    // Small steps between neighbours, and values around the ends of [0, 1], some beyond.
    const maps = memo(() =>
      Float32Array.from({ length: slots * height * width * 12 }, (_, at) =>
        at % 4 === 3 ? random().uniform(-0.1, 0.4) : random().uniform(0, 0.4),
      ),
    );
    let [contentWord, resultWord] = [0, 0];
    const parts = one.pieces.map(({ content: [full, rows], tile = { left: 0, top: 0, width: full, height: rows } }, index) => {
      const scale = [width / full, height / rows] as const;
      const piece: Piece = {
        ...{ contentWord, resultWord, width: tile.width, height: tile.height, column: tile.left, row: tile.top },
        ...{ contentWidth: full, contentHeight: rows, scale },
        offset: [tile.left * scale[0] - 0.5, tile.top * scale[1] - 0.5],
        bounds: [0, width - 1, 0, height - 1],
      };
      const count = full * rows * channels;
      contentWord += Math.ceil(count / 4);
      // Slots in front of the first are nobody's.
      if (index >= firstSlot) resultWord += resultWordsOf(tile.width, tile.height, channels);
      const bytes = memo(() => {
        const tissue = randomOf({ ...one, name: `${one.name} ${index}` });
        // Glass, tissue, and what is between them.
        return Uint8Array.from({ length: count }, (_, at) => {
          const place = Math.floor(at / channels) % full;
          const column = one.mirrored ? full - 1 - place : place;
          return column < full / 3
            ? 236 + tissue.integer(4)
            : column < full / 2
              ? 225 + tissue.integer(25)
              : one.mirrored
                ? [200, 60, 140][at % channels]!
                : tissue.integer(256);
        });
      });
      return { piece, bytes };
    });
    const contents = new Contents();
    const region = flat(resultWord);
    const output = contents.add(() => sentinels(region));
    /** Every byte's exact value before it is rounded. */
    const exact = memo(() => {
      const all = new Float64Array(4 * resultWord).fill(Number.NaN);
      for (const [slot, { piece, bytes }] of parts.slice(firstSlot).entries()) {
        const { contentWidth: full, contentHeight, column, row, scale, offset } = piece;
        const rgb = (x: number, y: number) =>
          [0, 1, 2].map((c) => bytes()[(y * full + x) * channels + (channels === 1 ? 0 : c)]! / 255);
        for (let y = 0; y < piece.height; y++)
          for (let x = 0; x < piece.width; x++) {
            const guide = rgb(x + column, y + row);
            const near = (at: number, s: number, o: number, size: number) => Math.min(size - 1, Math.max(0, (at + 0.5) * s + o));
            const [px, py] = [near(x, scale[0], offset[0], width), near(y, scale[1], offset[1], height)];
            const [x0, y0] = [Math.floor(px), Math.floor(py)];
            const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
            const map = (k: number) => {
              const of = (yy: number, xx: number) => maps()[((slot * height + yy) * width + xx) * 12 + k]!;
              const upper = of(y0, x0) * (1 - px + x0) + of(y0, x1) * (px - x0);
              return upper * (1 - py + y0) + (of(y1, x0) * (1 - px + x0) + of(y1, x1) * (px - x0)) * (py - y0);
            };
            let weight = 1;
            if (background) {
              const sum = [0, 0, 0];
              let count = 0;
              const around = (at: number, size: number) => [Math.max(0, at - 2), Math.min(size - 1, at + 2)] as const;
              const [[top, bottom], [left, right]] = [around(y + row, contentHeight), around(x + column, full)];
              for (let yy = top; yy <= bottom; yy++)
                for (let xx = left; xx <= right; xx++, count++) for (const [c, value] of rgb(xx, yy).entries()) sum[c]! += value;
              weight = tissueWeight(
                sum.map((value) => value / count),
                background,
              );
            }
            for (let c = 0; c < channels; c++) {
              const value = guide.reduce((total, level, k) => total + map(4 * c + k) * level, map(4 * c + 3));
              const restyled = Math.min(1, Math.max(0, value));
              all[4 * piece.resultWord + (y * 4 * Math.ceil(piece.width / 4) + x) * channels + c] =
                255 * (weight * restyled + (1 - weight) * guide[c]!);
            }
          }
      }
      return all;
    });
    return {
      call: guidedApply(profile, {
        ...{ height, width, channels, background, slots, firstSlot },
        content: contents.add(() => {
          const all = new Uint8Array(4 * contentWord);
          for (const { piece, bytes } of parts) all.set(bytes(), 4 * piece.contentWord);
          return asWords(all);
        }),
        coefficients: contents.add(maps),
        pieces: contents.add(() => pieceWords(parts.map(({ piece }) => piece))),
        result: output,
        words: Math.max(...parts.map(({ piece }) => resultWordsOf(piece.width, piece.height, channels))),
      }),
      contents,
      outputs: [{ buffer: output, kind: "bytes", region }],
      results: [
        {
          size: 4 * resultWord,
          value: (numbers, at) => (Number.isNaN(exact()[at]!) ? 0 : numbers[at]!),
          expected: (at) => (Number.isNaN(exact()[at]!) ? 0 : exact()[at]!),
          // One rounding: half a level, and what f32 makes of 255.
          tolerance: () => ({ bound: 0, slack: () => 0.5 + 1e-3 }),
        },
      ],
      flops: 0,
      shape: one.pieces.map(({ content }) => content.join(" × ")).join(", "),
    };
  },
};
