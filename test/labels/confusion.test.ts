import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { approximateWidth, quoted, shortened } from "../../src/image/svg.js";
import { confusionSvg } from "../../src/labels/confusion.js";
import { failure } from "../image/helpers.js";

/** librsvg refuses what is no well-formed XML. */
async function size(svg: string): Promise<{ width: number; height: number }> {
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  const { info } = await sharp(Buffer.from(svg)).png().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height };
}

/** Cells by what they say of themselves: place, class and shade. */
function cells(svg: string) {
  const found = svg.matchAll(
    /<g><title>([^<]*)<\/title><rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="\d+" class="(\w+)" fill-opacity="([\d.]+)"\/>/g,
  );
  return [...found].map(([, says, x, y, side, kind, shade]) => {
    return { says, x: Number(x), y: Number(y), side: Number(side), kind, shade: Number(shade) };
  });
}

const numbered = (count: number) => Array.from({ length: count }, (_, i) => `class ${i}`);

describe("confusionSvg", () => {
  it("has rows of true classes, columns of predicted ones, counts and shares of the row, and says so", async () => {
    const svg = confusionSvg(
      [
        [8, 2],
        [0, 5],
      ],
      ["benign", "malignant"],
      "validation",
    );
    await size(svg);
    const [right, wrong, other, none] = cells(svg);
    expect(none).toBeUndefined();
    expect([right!.says, wrong!.says, other!.says]).toEqual([
      "benign, predicted as benign: 8 of 10 (80%)",
      "benign, predicted as malignant: 2 of 10 (20%)",
      "malignant, predicted as malignant: 5 of 5 (100%)",
    ]);
    expect([right!.kind, wrong!.kind, other!.kind]).toEqual(["right", "wrong", "right"]);
    expect([wrong!.x - right!.x, wrong!.y - right!.y]).toEqual([right!.side, 0]);
    expect([other!.x - wrong!.x, other!.y - wrong!.y]).toEqual([0, right!.side]);
    expect(other!.shade).toBeGreaterThan(right!.shade);
    expect(right!.shade).toBeGreaterThan(wrong!.shade);
    for (const text of ["validation", "true class", "predicted class", "8", "80%", "2", "20%", "10", "5", "100%"])
      expect(svg).toContain(`>${text}</text>`);
    expect(svg).toContain("15 images. Rows: true class; columns: predicted class. Percent: of the row.");
    expect(svg).toContain("prefers-color-scheme: dark");
  });

  it("rounds no share to 0 or 100 that is neither", () => {
    const svg = confusionSvg(
      [
        [9999, 1],
        [0, 0],
      ],
      ["a", "b"],
    );
    expect(cells(svg).map(({ says }) => says!.match(/\((.*)\)/)![1])).toEqual(["99%", "&lt;1%"]);
  });

  it.each([1, 2, 5, 9, 40, 50])("holds %i classes with long names inside its frame", async (count) => {
    const names = numbered(count).map((name) => `squamous cell carcinoma and whatever else there may be, ${name}`);
    const svg = confusionSvg(
      names.map((_, i) => names.map((_, j) => (i === j ? 1234 : (i * j) % 3))),
      names,
      "A title of a run that is longer than the whole drawing is wide ".repeat(9),
    );
    const { width, height } = await size(svg);
    for (const { x, y, side } of cells(svg)) {
      expect(side).toBeGreaterThanOrEqual(36);
      expect(x + side).toBeLessThan(width);
      expect(y + side).toBeLessThan(height);
    }
    for (const [, letters] of svg.matchAll(/font-size="([\d.]+)"/g)) expect(Number(letters)).toBeGreaterThanOrEqual(9);
    // Shortened, each above its column and beside its row, with the whole name to point at.
    const whole = `<title>${names.at(-1)}</title><text`;
    expect(svg.split(whole)).toHaveLength(3);
    // Nothing is drawn on the frame: the outermost pixels are all paper.
    const { data } = await sharp(Buffer.from(svg)).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    let darkest = 255;
    for (let y = 0; y < height; y++)
      for (const x of [0, 1, 2, width - 3, width - 2, width - 1]) darkest = Math.min(darkest, data[(y * width + x) * 3]!);
    expect(darkest).toBeGreaterThan(250);
  });

  it("writes short names level, and turns those that are wider than a column", () => {
    const identity = numbered(3).map((_, i) => numbered(3).map((_, j) => Number(i === j)));
    expect(confusionSvg(identity, ["a", "b", "c"])).not.toContain("rotate(-45");
    expect(confusionSvg(identity, ["a", "b", "a long name of a class"]).match(/rotate\(-45/g)).toHaveLength(3);
  });

  it("makes numbers smaller that would not fit into their cells", () => {
    const svg = confusionSvg(
      numbered(13).map(() => new Array<number>(13).fill(12_345_678)),
      numbered(13),
    );
    const [, letters] = svg.match(/font-size="([\d.]+)">12345678</)!;
    expect(approximateWidth("12345678", Number(letters))).toBeLessThanOrEqual(32);
  });

  it("takes any text for a name", async () => {
    const odd = ["<script>&\"'", "\u0007\ud800 \uffff", "日本", "a\nb", ""];
    const svg = confusionSvg(
      odd.map(() => [1, 2, 3, 4, 5]),
      odd,
      "</title>&<",
    );
    await size(svg);
    expect(svg).not.toContain("<script>");
    expect(svg).toContain("a b, predicted as &#60;script&#62;&#38;&#34;': 1 of 15");
  });

  it("refuses what is no matrix of counts", async () => {
    const draw = async (matrix: number[][], names: string[]) => confusionSvg(matrix, names);
    await failure(draw([], []), "ARGUMENT");
    await failure(draw([[1]], ["a", "b"]), "ARGUMENT");
    await failure(draw([[1, 2], [3]], ["a", "b"]), "ARGUMENT");
    for (const count of [0.5, -1, Number.NaN]) await failure(draw([[count]], ["a"]), "ARGUMENT");
  });
});

describe("text in an SVG", () => {
  it("is escaped, and shortened in its middle", () => {
    expect(quoted('a<b>&"c"\u0000\ud800')).toBe("a&#60;b&#62;&#38;&#34;c&#34;??");
    expect(quoted("😀")).toBe("😀");
    expect(shortened("short", 100, 12)).toBe("short");
    const name = "squamous cell carcinoma of the lung, grade 3";
    const fits = shortened(name, 120, 12);
    expect(fits).toMatch(/^squam.*….*grade 3$/);
    expect(approximateWidth(fits, 12)).toBeLessThanOrEqual(120);
    expect(approximateWidth(fits, 12)).toBeGreaterThan(100);
    expect(shortened("😀😀😀😀", 30, 12)).toMatch(/^😀?…$/u);
    expect(shortened(name, 1, 12)).toBe("…");
    expect(approximateWidth("mmm", 10)).toBeGreaterThan(approximateWidth("lll", 10));
  });
});
