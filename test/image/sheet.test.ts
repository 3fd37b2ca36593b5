import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../src/image/decode.js";
import { ellipsise, textSvg, textWidth, wrap } from "../../src/image/lettering.js";
import {
  type CaptionedTile,
  captionedSheet,
  contactSheet,
  type SheetImage,
  type SheetOptions,
  type SheetRow,
} from "../../src/image/sheet.js";
import { failure, gradient, noise } from "./helpers.js";

const sheetImage = (name: string, seed = 1): SheetImage => ({ name, image: noise(40, 40, 3, seed) });
const contents = Array.from({ length: 15 }, (_, i) => sheetImage(`folder/content_${i}.png`, i + 1));
const styles = Array.from({ length: 5 }, (_, i) => sheetImage(`style_${i}.png`, i + 50));
const pair = (content: SheetImage, style: SheetImage): SheetRow => ({
  content,
  style,
  result: sheetImage(`${content.name}__${style.name}`),
});
const everything = contents.flatMap((content) => styles.map((style) => pair(content, style)));

interface Sheet {
  width: number;
  height: number;
  /** How many pixels of a rectangle are darker than the background, as ink is. */
  ink: (left: number, top: number, width: number, height: number) => number;
}

const draw = async (rows: readonly SheetRow[], options?: SheetOptions) => read(await contactSheet(rows, options));
const drawCaptioned = async (tiles: readonly CaptionedTile[], options?: SheetOptions) =>
  read(await captionedSheet(tiles, options));

async function read(png: Uint8Array): Promise<Sheet> {
  expect((await sharp(png).metadata()).format).toBe("png");
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
  expect(info.channels).toBe(3);
  const ink: Sheet["ink"] = (left, top, width, height) => {
    let count = 0;
    for (let y = top; y < top + height; y++)
      for (let x = left; x < left + width; x++) if (data[(y * info.width + x) * 3]! < 200) count++;
    return count;
  };
  return { width: info.width, height: info.height, ink };
}

describe("contactSheet", () => {
  it("draws a grid of 15 × 5 with labels in their places", async () => {
    const sheet = await draw(everything, { title: "A title", footer: "model, adapter, tier, 1.2 s" });
    expect(sheet.width).toBe(24 + 128 + 28 + 5 * 136 - 8 + 24);
    const top = 24 + 34;
    const first = top + 20 + 128 + 22 + 20;
    expect(sheet.height).toBe(first + 15 * 150 - 6 + 14 + 17 + 24);
    expect(sheet.ink(24, 24, 200, 20)).toBeGreaterThan(50); // title
    expect(sheet.ink(180, top, 60, 12)).toBeGreaterThan(50); // "styles"
    expect(sheet.ink(180, top + 20 + 128 + 3, 128, 14)).toBeGreaterThan(50); // first style's caption
    expect(sheet.ink(24, first + 128 + 3, 128, 14)).toBeGreaterThan(50); // first content's caption
    expect(sheet.ink(24, sheet.height - 42, 300, 20)).toBeGreaterThan(50); // footer
    expect(sheet.ink(24, top + 20, 128, 120)).toBe(0); // the empty corner
    expect(sheet.ink(0, 0, 23, sheet.height)).toBe(0);
    expect(sheet.ink(sheet.width - 23, 0, 23, sheet.height)).toBe(0);
  });

  it("draws pairs when there is no grid, in up to three groups", async () => {
    const rows = contents.map((content, i) => pair(content, styles[i % 5]!));
    const sheet = await draw(rows);
    expect(sheet.width).toBe(48 + 3 * 400 + 2 * 40);
    expect(sheet.height).toBe(24 + 20 + 5 * 154 - 4 + 24);
    for (const j of [0, 1, 2]) {
      expect(sheet.ink(24 + j * 136, 24, 60, 12)).toBeGreaterThan(30);
      expect(sheet.ink(24 + j * 136, 24 + 20 + 128 + 3, 128, 14)).toBeGreaterThan(30);
    }
    expect((await draw(rows.slice(0, 1))).width).toBe(48 + 3 * 224 + 2 * 8);
    expect((await draw(everything, { layout: "pairs", tile: 32 })).width).toBe(48 + 3 * (3 * 32 + 16) + 80);
  });

  it("draws reconstructions as a fourth column of pairs, where there are some", async () => {
    const rows = contents
      .slice(0, 3)
      .map((content, i) => ({ ...pair(content, styles[i]!), reconstruction: sheetImage("again") }));
    const sheet = await draw(rows, { layout: "pairs" });
    expect(sheet.width).toBe(48 + 4 * 224 + 3 * 8);
    for (const row of [0, 1, 2]) expect(sheet.ink(24 + 3 * 232, 24 + 20 + row * 250, 224, 224)).toBeGreaterThan(1000);
    expect(sheet.ink(24 + 3 * 232, 24, 130, 12)).toBeGreaterThan(50);
    const some = await draw([pair(contents[0]!, styles[0]!), rows[1]!], { layout: "pairs" });
    expect(some.ink(24 + 3 * 232, 24 + 20, 224, 224)).toBe(0);
    expect(some.ink(24 + 3 * 232, 24 + 20 + 250, 224, 224)).toBeGreaterThan(1000);
  });

  it("stays bounded and says what is missing", async () => {
    const all = await draw(everything, { tile: 32 });
    const part = await draw(everything, { tile: 32, maxRows: 3, maxColumns: 2 });
    expect(part.width).toBe(all.width - 3 * 40);
    expect(part.height).toBe(all.height - 12 * 54 + 18);
    expect(part.ink(24, part.height - 24 - 20, part.width - 48, 18)).toBeGreaterThan(50);
    expect((await draw(everything.slice(0, 74), { tile: 32 })).height).toBe(24 + 20 + 20 * 58 - 4 + 18 + 24);
  });

  it("takes grey and oblong images, names of any kind, and odd texts", async () => {
    const grey: SheetImage = { name: "日本 é <&>.png", image: noise(90, 10, 1) };
    const row = { content: grey, style: { name: "", image: gradient(5, 50) }, result: sheetImage("x".repeat(400)) };
    const sheet = await draw([row], { title: "t".repeat(500), footer: `${"word ".repeat(80)}${"w".repeat(300)}`, tile: 32 });
    expect(sheet.width).toBe(48 + 3 * 32 + 16);
    expect(sheet.ink(sheet.width - 23, 0, 23, sheet.height)).toBe(0);
  });

  it("refuses what cannot be drawn", async () => {
    await failure(contactSheet([]), "ARGUMENT");
    await failure(contactSheet(everything.slice(1), { layout: "grid" }), "ARGUMENT");
    await failure(contactSheet(everything, { tile: 8 }), "ARGUMENT");
    await failure(contactSheet(everything, { maxRows: 0 }), "ARGUMENT");
  });
});

describe("captionedSheet", () => {
  const tiles = contents.map((source, i) => ({ source, lines: ["first line", ...(i % 2 ? ["second line"] : [])] }));

  it("draws images row after row, about as many down as across, with their lines below", async () => {
    const sheet = await drawCaptioned(tiles, { title: "A title", footer: "and a footer" });
    const side = 176;
    expect(sheet.width).toBe(48 + 4 * side + 3 * 16);
    const [top, down] = [24 + 34, side + 22 + 2 * 15 + 6];
    expect(sheet.height).toBe(top + 4 * down - 6 + 14 + 17 + 24);
    for (const i of contents.keys()) {
      const [x, y] = [24 + (i % 4) * (side + 16), top + Math.floor(i / 4) * down];
      expect(sheet.ink(x, y, side, side)).toBeGreaterThan(1000);
      for (const line of [0, 1, 2]) {
        const ink = sheet.ink(x, y + side + 3 + line * 15, side, 14);
        if (line < 2 || i % 2) expect(ink).toBeGreaterThan(30);
        else expect(ink).toBe(0);
      }
    }
    expect(sheet.ink(24 + 3 * (side + 16), top + 3 * down, side, side)).toBe(0);
    // One image leaves room for a title.
    expect((await drawCaptioned(tiles.slice(0, 1))).width).toBe(48 + 3 * side + 2 * 16);
  });

  it("stays bounded, says what is missing, and shortens long lines", async () => {
    const many = Array.from({ length: 100 }, (_, i) => ({ ...tiles[i % 15]!, lines: ["a line that is long ".repeat(20)] }));
    const sheet = await drawCaptioned(many, { tile: 32, maxRows: 2 });
    expect([sheet.width, sheet.height]).toEqual([48 + 8 * 32 + 7 * 16, 24 + 2 * (32 + 22 + 15 + 6) - 6 + 18 + 24]);
    expect(sheet.ink(24, sheet.height - 24 - 18, sheet.width - 48, 16)).toBeGreaterThan(50);
    expect(sheet.ink(sheet.width - 23, 0, 23, sheet.height)).toBe(0);
  });

  it("refuses no images and options out of range", async () => {
    await failure(captionedSheet([]), "ARGUMENT");
    await failure(captionedSheet(tiles, { tile: 8 }), "ARGUMENT");
  });
});

describe("lettering", () => {
  it("has strokes for every printable ASCII character, all different and none of them text", async () => {
    const seen = new Set<string>();
    for (let code = 33; code < 127; code++) {
      const svg = textSvg(String.fromCharCode(code), 8, 24, { size: 14, colour: "#000" });
      expect(svg).not.toContain("<text");
      const whole = `<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">${svg}</svg>`;
      const pixels = await sharp(Buffer.from(whole)).extractChannel("alpha").raw().toBuffer();
      expect(pixels.some((x) => x > 200)).toBe(true);
      seen.add(pixels.toString("latin1"));
    }
    expect(seen.size).toBe(94);
    expect(textSvg("é…", 0, 9, { size: 7, colour: "#000" })).toBe(textSvg("e...", 0, 9, { size: 7, colour: "#000" }));
    expect(textSvg("日", 0, 9, { size: 7, colour: "#000" })).toBe(textSvg("?", 0, 9, { size: 7, colour: "#000" }));
  });

  it("shortens in the middle and wraps between words", () => {
    expect(ellipsise("short", 200, 8)).toBe("short");
    const shortened = ellipsise("camelyon17_center0_15018", 100, 8);
    expect(shortened).toMatch(/^camel.*\.\.\..*15018$/);
    expect(textWidth(shortened, 8)).toBeLessThanOrEqual(100);
    const lines = wrap("one two three four five six", 60, 8);
    expect(lines.join(" ")).toBe("one two three four five six");
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(textWidth(line, 8)).toBeLessThanOrEqual(60);
    expect(wrap(" ", 60, 8)).toEqual([]);
  });
});

const tiles = path.resolve(import.meta.dirname, "../../../shared/images/other");
describe.skipIf(!existsSync(tiles))("real tiles", () => {
  it("make a sheet", async () => {
    const names = readdirSync(tiles).filter((name) => name.endsWith(".png"));
    const images = await Promise.all(
      names.map(async (name) => ({ name, image: await decodeImage(path.join(tiles, name), { channels: 3 }) })),
    );
    const rows = images.map((content, i) => ({ content, style: images[(i + 1) % images.length]!, result: content }));
    expect((await draw(rows)).height).toBe(24 + 20 + Math.ceil(rows.length / Math.ceil(rows.length / 6)) * 154 - 4 + 24);
  });
});
