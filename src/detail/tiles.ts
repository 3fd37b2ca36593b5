import type { Placement } from "../image/types.js";
import type { Piece } from "../ops/guided.js";

/** How an image's pixels at its full size lie among those that a model saw of it. */
export interface Mapping {
  /** Sides of the image at its full size. */
  width: number;
  height: number;
  /** The part of it that the model saw, and where that lies in what the model saw. */
  source: Placement;
  low: Placement;
}

/** A part of an image at its full size, and what of the maps of colours it needs. */
export interface Tile {
  /** In pixels of the image at its full size. */
  full: Placement;
  /** Pixels that the model saw, those around included that the box windows reach. */
  low: Placement;
  map: Pick<Piece, "scale" | "offset" | "bounds">;
}

/** Longest sides of a tile: at its full size, and in pixels that the model saw without those around. */
const LONGEST = { full: 1024, low: 256 };

interface Span {
  from: number;
  to: number;
  low: { from: number; to: number };
  scale: number;
  offset: number;
  bounds: readonly [number, number];
}

/** One side of an image in parts. */
function spans(
  size: number,
  source: { from: number; size: number },
  low: { from: number; size: number },
  radius: number,
  most: number,
): Span[] {
  const scale = low.size / source.size;
  const longest = Math.max(1, Math.min(most, Math.floor(LONGEST.low / scale)));
  const count = Math.ceil(size / longest);
  const place = (at: number) => low.from + Math.min(low.size - 1, Math.max(0, (at - source.from + 0.5) * scale - 0.5));
  return Array.from({ length: count }, (_, index) => {
    const [from, to] = [Math.floor((index * size) / count), Math.floor(((index + 1) * size) / count)];
    // The mean of maps reaches one radius, and each map's own window another.
    const first = Math.max(low.from, Math.floor(place(from)) - 2 * radius);
    const end = Math.min(low.from + low.size, Math.floor(place(to - 1)) + 2 + 2 * radius);
    return {
      ...{ from, to, low: { from: first, to: end }, scale },
      offset: (from - source.from) * scale - 0.5 + low.from - first,
      bounds: [low.from - first, low.from + low.size - 1 - first] as const,
    };
  });
}

/** A row of tiles, which are made when they are asked for: of a whole slide there are many. */
export interface TileRow {
  /** Of each of its tiles. */
  full: Pick<Placement, "top" | "height">;
  low: Pick<Placement, "top" | "height">;
  tiles(): Tile[];
}

/**
 * An image in tiles that are restored each by itself: where they meet they are the same.
 * @param most rows of a tile
 */
export function tileRows({ width, height, source, low }: Mapping, radius: number, most: number = LONGEST.full): TileRow[] {
  const [left, lowLeft] = [
    { from: source.left, size: source.width },
    { from: low.left, size: low.width },
  ];
  const [top, lowTop] = [
    { from: source.top, size: source.height },
    { from: low.top, size: low.height },
  ];
  const across = spans(width, left, lowLeft, radius, LONGEST.full);
  return spans(height, top, lowTop, radius, Math.min(most, LONGEST.full)).map((y): TileRow => {
    const rows = { full: { top: y.from, height: y.to - y.from }, low: { top: y.low.from, height: y.low.to - y.low.from } };
    const tiles = () =>
      across.map((x) => ({
        full: { left: x.from, width: x.to - x.from, ...rows.full },
        low: { left: x.low.from, width: x.low.to - x.low.from, ...rows.low },
        map: {
          scale: [x.scale, y.scale],
          offset: [x.offset, y.offset],
          bounds: [...x.bounds, ...y.bounds],
        } satisfies Tile["map"],
      }));
    return { ...rows, tiles };
  });
}

/** An image in tiles, row after row. */
export const tilesOf = (mapping: Mapping, radius: number): Tile[] => tileRows(mapping, radius).flatMap((row) => row.tiles());
