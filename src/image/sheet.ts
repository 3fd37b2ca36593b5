import { messageOf, StylizingError } from "../errors.js";
import { ellipsise, textSvg, wrap } from "./lettering.js";
import { resize } from "./resize.js";
import { loadSharp } from "./sharp.js";
import { checkPixelImage, type PixelImage } from "./types.js";

/** An image on a sheet. The caption is the last part of `name` without its ending; in a grid, equal names are the same image. */
export interface SheetImage {
  readonly name: string;
  readonly image: PixelImage;
}

export interface SheetRow {
  readonly content: SheetImage;
  /** Missing where there is none to be taken from. */
  readonly style?: SheetImage | undefined;
  readonly result: SheetImage;
  /** The content as the model draws it in its own style; pairs only. */
  readonly reconstruction?: SheetImage | undefined;
}

/** An image with what is said of it, a line of text each. */
export interface CaptionedTile {
  readonly source: SheetImage;
  readonly lines: readonly string[];
}

export interface SheetOptions {
  /**
   * "pairs": content, style, result and, where there is one, reconstruction beside each other. "grid": contents down the left, styles along the top, results
   * in the cells. Default: a grid when there are at least two styles and the rows are every content with every style.
   */
  layout?: "auto" | "pairs" | "grid" | undefined;
  title?: string | undefined;
  /** The line below: model, adapter, tier, time. */
  footer?: string | undefined;
  /** Side of a tile in pixels, 32 to 512. Default 224 for a few tiles, 128 for many. */
  tile?: number | undefined;
  /** At most so many pairs (default 60), or contents of a grid (default 20); a line says how many are left out. */
  maxRows?: number | undefined;
  /** At most so many styles of a grid (default 12); of captioned tiles, so many beside each other (default about as wide as high). */
  maxColumns?: number | undefined;
}

const BACKGROUND = { r: 244, g: 244, b: 242 };
const INK = "#26282b";
const FAINT = "#6a6e75";
const MARGIN = 24;
const GAP = 8;
/** Room for a line of captions below a tile. */
const CAPTION = 22;
const LETTERS = 8;

interface Drawing {
  width: number;
  height: number;
  tiles: { source: SheetImage; left: number; top: number }[];
  svg: string[];
}

/**
 * A labelled sheet for people to look at, as the bytes of a PNG. Tiles keep their proportions. It needs no font on the
 * machine. Throws `ARGUMENT` for no rows, options out of range, or rows that do not make the grid that was asked for.
 */
export async function contactSheet(rows: readonly SheetRow[], options: SheetOptions = {}): Promise<Uint8Array> {
  const { layout = "auto" } = options;
  checkSheet(rows, options);
  const grid = asGrid(rows);
  if (layout === "grid" && !grid) {
    const fix = 'Give every content with every style once, or use layout "pairs".';
    throw new StylizingError("ARGUMENT", `The ${rows.length} results do not make a full grid of contents and styles.`, fix);
  }
  const useGrid = grid && (layout === "grid" || (layout === "auto" && grid.styles.length > 1));
  const top = topOf(options);
  return render(useGrid ? drawGrid(grid, top, options) : drawPairs(rows, top, options), tileSide(rows.length, options), options);
}

/**
 * A sheet of single images with lines of text below each, row after row, as the bytes of a PNG. `maxRows` counts rows of the sheet
 * (default 10). Throws `ARGUMENT` for no images or options out of range.
 */
export async function captionedSheet(
  tiles: readonly CaptionedTile[],
  options: Omit<SheetOptions, "layout"> = {},
): Promise<Uint8Array> {
  checkSheet(tiles, options);
  const side = options.tile ?? CAPTIONED_TILE;
  return render(drawCaptioned(tiles, side, topOf(options), options), side, options);
}

function checkSheet(rows: readonly unknown[], options: SheetOptions): void {
  if (rows.length === 0)
    throw new StylizingError("ARGUMENT", "A sheet needs at least one result.", "Give one row for each result.");
  for (const [name, least, most] of [
    ["tile", 32, 512],
    ["maxRows", 1, 500],
    ["maxColumns", 1, 50],
  ] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= most)) {
      throw new StylizingError("ARGUMENT", `The sheet's ${name} is ${value}.`, `Give a whole number from ${least} to ${most}.`);
    }
  }
}

/** Where the drawing begins below the title. */
const topOf = ({ title }: SheetOptions): number => MARGIN + (title ? 34 : 0);

/** The PNG of a drawing, with title and footer around it and tiles of `side` pixels. */
async function render(drawing: Drawing, side: number, { title = "", footer = "" }: SheetOptions): Promise<Uint8Array> {
  const { width, height, tiles, svg } = drawing;
  if (title) {
    svg.push(textSvg(ellipsise(title, width - 2 * MARGIN, 12), MARGIN, MARGIN + 14, { size: 12, colour: INK, bold: true }));
  }
  const notes = footer ? wrap(footer, width - 2 * MARGIN, LETTERS) : [];
  for (const [i, line] of notes.entries())
    svg.push(textSvg(line, MARGIN, height + 22 + i * 17, { size: LETTERS, colour: FAINT }));
  const full = height + (notes.length > 0 ? 14 + notes.length * 17 : 0) + MARGIN;

  const canvas = Buffer.alloc(width * full * 3);
  for (let i = 0; i < canvas.length; i += 3) {
    canvas[i] = BACKGROUND.r;
    canvas[i + 1] = BACKGROUND.g;
    canvas[i + 2] = BACKGROUND.b;
  }
  for (const { source, left, top } of tiles) {
    const { image, x, y } = await fitted(source, side);
    blit(canvas, width, image, left + x, top + y);
    // A hairline, or white slides would melt into the background.
    const frame = `x="${left + x - 0.5}" y="${top + y - 0.5}" width="${image.width + 1}" height="${image.height + 1}"`;
    svg.push(`<rect ${frame} fill="none" stroke="#000" stroke-opacity=".18"/>`);
  }
  const overlay = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${full}">${svg.join("")}</svg>`;
  const sharp = await loadSharp();
  try {
    return await sharp(canvas, { raw: { width, height: full, channels: 3 }, limitInputPixels: false })
      .composite([{ input: Buffer.from(overlay), limitInputPixels: false }])
      .removeAlpha()
      .png()
      .toBuffer();
  } catch (error) {
    const fix = "Use smaller tiles or fewer rows.";
    throw new StylizingError("OUTPUT", `The sheet of ${width} × ${full} could not be drawn: ${messageOf(error)}.`, fix, {
      cause: error,
    });
  }
}

interface Grid {
  contents: SheetImage[];
  styles: SheetImage[];
  /** By content's name, then style's. */
  results: Map<string, Map<string, SheetImage>>;
}

/** The rows as a grid, or nothing when a cell is empty or taken twice. */
function asGrid(rows: readonly SheetRow[]): Grid | undefined {
  const contents = new Map<string, SheetImage>();
  const styles = new Map<string, SheetImage>();
  const results: Grid["results"] = new Map();
  for (const { content, style, result } of rows) {
    if (!style) return undefined;
    contents.set(content.name, content);
    styles.set(style.name, style);
    const row = results.get(content.name) ?? new Map<string, SheetImage>();
    if (row.has(style.name)) return undefined;
    results.set(content.name, row.set(style.name, result));
  }
  if (rows.length !== contents.size * styles.size) return undefined;
  return { contents: [...contents.values()], styles: [...styles.values()], results };
}

const tileSide = (results: number, { tile }: SheetOptions): number => tile ?? (results > 6 ? 128 : 224);

const heading = { size: 9, colour: INK, bold: true } as const;

function drawGrid({ contents, styles, results }: Grid, top: number, options: SheetOptions): Drawing {
  const side = tileSide(contents.length * styles.length, options);
  const { maxRows = 20, maxColumns = 12 } = options;
  const down = contents.slice(0, maxRows);
  const across = styles.slice(0, maxColumns);
  // Inputs stand apart from results by a wide gap and a line.
  const apart = 28;
  const left = MARGIN + side + apart;
  const first = top + 20 + side + CAPTION + apart - 8;
  const column = (j: number): number => left + j * (side + GAP);
  const row = (i: number): number => first + i * (side + CAPTION);
  const width = column(across.length) - GAP + MARGIN;
  let height = row(down.length) - 6;

  const tiles: Drawing["tiles"] = [];
  const svg = [
    textSvg(ellipsise("styles", side, heading.size), left, top + 9, heading),
    textSvg(ellipsise("contents", side, heading.size), MARGIN, first - 11, heading),
    rule(left - apart / 2, first, left - apart / 2, height - 14),
    rule(left, first - 15, width - MARGIN, first - 15),
  ];
  for (const [j, style] of across.entries()) {
    tiles.push({ source: style, left: column(j), top: top + 20 });
    svg.push(caption(style, column(j), top + 20, side));
  }
  for (const [i, content] of down.entries()) {
    tiles.push({ source: content, left: MARGIN, top: row(i) });
    svg.push(caption(content, MARGIN, row(i), side));
    for (const [j, style] of across.entries()) {
      tiles.push({ source: results.get(content.name)!.get(style.name)!, left: column(j), top: row(i) });
    }
  }
  const more = [counted(contents.length - down.length, "content"), counted(styles.length - across.length, "style")].filter(
    Boolean,
  );
  if (more.length > 0) {
    svg.push(textSvg(`... and ${more.join(" and ")}`, MARGIN, height + 12, { size: LETTERS, colour: FAINT }));
    height += 18;
  }
  return { width, height, tiles, svg };
}

function drawPairs(rows: readonly SheetRow[], top: number, options: SheetOptions): Drawing {
  const side = tileSide(rows.length, options);
  const shown = rows.slice(0, options.maxRows ?? 60);
  // Long lists are broken into up to three groups side by side: a sheet should fit on a screen.
  const groups = Math.min(3, Math.ceil(shown.length / 6));
  const perGroup = Math.ceil(shown.length / groups);
  const apart = 40;
  const kinds = (["content", "style", "result", "reconstruction"] as const).filter((kind) => shown.some((row) => row[kind]));
  const columns = kinds.length;
  const groupWidth = columns * side + (columns - 1) * GAP;
  const width = 2 * MARGIN + groups * groupWidth + (groups - 1) * apart;
  const first = top + 20;
  let height = first + perGroup * (side + CAPTION + 4) - 4;

  const tiles: Drawing["tiles"] = [];
  const svg: string[] = [];
  for (const [i, pair] of shown.entries()) {
    const group = Math.floor(i / perGroup);
    const left = MARGIN + group * (groupWidth + apart);
    const y = first + (i % perGroup) * (side + CAPTION + 4);
    for (const [j, what] of kinds.entries()) {
      const source = pair[what];
      const x = left + j * (side + GAP);
      if (i % perGroup === 0) svg.push(textSvg(ellipsise(what, side, heading.size), x, top + 9, heading));
      if (!source) continue;
      tiles.push({ source, left: x, top: y });
      svg.push(caption(source, x, y, side));
    }
    if (group > 0 && i % perGroup === 0) svg.push(rule(left - apart / 2, top, left - apart / 2, height - 8));
  }
  if (shown.length < rows.length) {
    const text = `... and ${counted(rows.length - shown.length, "pair")}`;
    svg.push(textSvg(text, MARGIN, height + 12, { size: LETTERS, colour: FAINT }));
    height += 18;
  }
  return { width, height, tiles, svg };
}

/** Wider than a tile of a grid: it has more to say. */
const CAPTIONED_TILE = 176;
const LINE = 15;

function drawCaptioned(
  all: readonly CaptionedTile[],
  side: number,
  top: number,
  { maxRows = 10, maxColumns }: SheetOptions,
): Drawing {
  // About as wide as high, and never so narrow that the title has no room.
  const columns = maxColumns ?? Math.min(8, Math.max(3, Math.ceil(Math.sqrt(all.length))));
  const shown = all.slice(0, columns * maxRows);
  const down = side + CAPTION + LINE * Math.max(...shown.map(({ lines }) => lines.length)) + 6;
  const width = 2 * MARGIN + columns * (side + 2 * GAP) - 2 * GAP;
  let height = top + Math.ceil(shown.length / columns) * down - 6;
  const tiles: Drawing["tiles"] = [];
  const svg: string[] = [];
  for (const [i, { source, lines }] of shown.entries()) {
    const left = MARGIN + (i % columns) * (side + 2 * GAP);
    const y = top + Math.floor(i / columns) * down;
    tiles.push({ source, left, top: y });
    svg.push(caption(source, left, y, side));
    for (const [j, line] of lines.entries())
      svg.push(textSvg(ellipsise(line, side, LETTERS), left, y + side + 13 + (j + 1) * LINE, { size: LETTERS, colour: INK }));
  }
  if (shown.length < all.length) {
    const text = `... and ${counted(all.length - shown.length, "image")}`;
    svg.push(textSvg(text, MARGIN, height + 12, { size: LETTERS, colour: FAINT }));
    height += 18;
  }
  return { width, height, tiles, svg };
}

const counted = (count: number, what: string): string => (count > 0 ? `${count} more ${what}${count > 1 ? "s" : ""}` : "");

const rule = (x1: number, y1: number, x2: number, y2: number): string =>
  `<path d="M${x1} ${y1}L${x2} ${y2}" stroke="#000" stroke-opacity=".2"/>`;

function caption({ name }: SheetImage, left: number, top: number, side: number): string {
  const last = name.split(/[\\/]/).filter(Boolean).at(-1) ?? name;
  const label = last.replace(/(?<=.)\.(png|jpe?g|webp|tiff?|gif|avif)$/i, "");
  return textSvg(ellipsise(label, side, LETTERS), left, top + side + 13, { size: LETTERS, colour: FAINT });
}

/** The image scaled into a square of `side`, and where it lies there. */
async function fitted({ name, image }: SheetImage, side: number): Promise<{ image: PixelImage; x: number; y: number }> {
  checkPixelImage(image, name);
  const scale = side / Math.max(image.width, image.height);
  const small = await resize(image, Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale)));
  return { image: small, x: (side - small.width) >> 1, y: (side - small.height) >> 1 };
}

function blit(canvas: Buffer, stride: number, { data, width, height, channels }: PixelImage, left: number, top: number): void {
  for (let y = 0, from = 0; y < height; y++) {
    let to = ((top + y) * stride + left) * 3;
    for (let x = 0; x < width; x++, from += channels) {
      canvas[to++] = data[from]!;
      canvas[to++] = data[channels === 3 ? from + 1 : from]!;
      canvas[to++] = data[channels === 3 ? from + 2 : from]!;
    }
  }
}
