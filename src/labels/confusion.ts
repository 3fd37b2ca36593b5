import { StylizingError } from "../errors.js";
import { approximateWidth, quoted, shortened, text } from "../image/svg.js";

const MARGIN = 20;
const FONT = 12;
const TITLE = 15;
/** How much wider bold letters are. */
const BOLD = 1.2;
/** Names take at most so many pixels. */
const NAME = 170;
/** Between names or totals and the cells. */
const GAP = 8;
/** The line that names an axis, above and at the left. */
const AXIS = 20;
const SIDEWAYS = 30;
/** Names above columns are turned by 45° where they do not fit. */
const TURN = Math.SQRT1_2;

/** Side of a cell in pixels, and of the letters in it: large for a few classes, and still legible for fifty. */
function cellSize(classes: number): { cell: number; count: number; share: number } {
  if (classes <= 5) return { cell: 72, count: 16, share: 12 };
  if (classes <= 12) return { cell: 54, count: 13, share: 11 };
  return { cell: 36, count: 11, share: 9 };
}

/** Percent without digits, and neither 0 nor 100 where that is not all of it. */
function percent(count: number, total: number): string {
  const share = (100 * count) / total;
  if (share < 0.5) return "&lt;1%";
  return `${count < total ? Math.min(99, Math.round(share)) : 100}%`;
}

function checkMatrix(matrix: readonly (readonly number[])[], classes: readonly string[]): void {
  const size = classes.length;
  const square = size > 0 && matrix.length === size && matrix.every((row) => row.length === size);
  if (square && matrix.every((row) => row.every((count) => Number.isSafeInteger(count) && count >= 0))) return;
  const problem = square
    ? "A confusion matrix has a count that is no whole number."
    : `A confusion matrix of ${matrix.length} rows has ${size} names of classes.`;
  throw new StylizingError("ARGUMENT", problem, "Give counts of images, as many rows and columns as there are classes.");
}

/**
 * A confusion matrix as an SVG: rows are true classes, columns predicted ones; each cell has its count and its share of the row, by
 * which it is shaded, blue where the prediction is right and red where it is not. It can be read on light and on dark pages, for up to
 * about fifty classes. Long names are shortened; the whole ones, and what a cell says in words, are shown by pointing at them.
 * @param matrix [K][K], counts of images by true and predicted class
 * @param classes [K] names
 * @throws StylizingError `ARGUMENT` where the matrix is not K × K counts.
 */
export function confusionSvg(
  matrix: readonly (readonly number[])[],
  classes: readonly string[],
  title = "Confusion matrix",
): string {
  checkMatrix(matrix, classes);
  const { cell, count: countSize, share: shareSize } = cellSize(classes.length);
  const names = classes.map((name) => shortened(name, NAME, FONT));
  const widths = names.map((name) => approximateWidth(name, FONT));
  const widest = Math.max(...widths);
  const turned = widest > cell - 6;
  const totals = matrix.map((row) => row.reduce((a, b) => a + b));
  const images = totals.reduce((a, b) => a + b);
  const totalsWidth = approximateWidth(String(Math.max(...totals)), FONT);

  const note = `${images.toLocaleString("en")} images. Rows: true class; columns: predicted class. Percent: of the row.`;
  const left = MARGIN + SIDEWAYS + widest + GAP;
  const right = left + classes.length * cell;
  const above = turned ? widest * TURN + FONT : FONT + 4;
  const top = MARGIN + 22 + 20 + AXIS + above + GAP;
  const bottom = top + classes.length * cell;
  // The last name above a column leans over the edge.
  const lean = turned ? Math.max(...widths.map((width, j) => width * TURN + FONT - (classes.length - j - 0.5) * cell)) : 0;
  const columnOfTotals = Math.max(totalsWidth, approximateWidth("images", FONT)) + 2 * GAP;
  const width = Math.ceil(
    Math.max(right + Math.max(lean, columnOfTotals) + MARGIN, MARGIN + approximateWidth(note, FONT) + MARGIN, 320),
  );
  const height = Math.ceil(bottom + MARGIN);
  const x = (column: number) => left + (column + 0.5) * cell;
  const y = (row: number) => top + (row + 0.5) * cell;

  const parts = [
    text(MARGIN, MARGIN + 14, shortened(title, (width - 2 * MARGIN) / BOLD, TITLE), 'class="title"'),
    text(MARGIN, MARGIN + 34, note, 'class="faint"'),
    text((left + right) / 2, MARGIN + 22 + 20 + 12, "predicted class", 'text-anchor="middle" class="axis"'),
    text(
      MARGIN + 10,
      (top + bottom) / 2,
      "true class",
      `text-anchor="middle" class="axis" transform="rotate(-90 ${MARGIN + 10} ${((top + bottom) / 2).toFixed(1)})"`,
    ),
    text(right + GAP, top - GAP, "images", 'class="faint"'),
  ];
  const whole = (label: number, svg: string) =>
    names[label] === classes[label] ? svg : `<g><title>${quoted(classes[label]!)}</title>${svg}</g>`;
  for (const [i, name] of names.entries()) {
    parts.push(whole(i, text(left - GAP, y(i) + 4, name, 'text-anchor="end"')));
    const at = turned ? [x(i) + 4, top - GAP] : [x(i), top - GAP];
    const how = turned ? `transform="rotate(-45 ${at[0]!.toFixed(1)} ${at[1]!.toFixed(1)})"` : 'text-anchor="middle"';
    parts.push(whole(i, text(at[0]!, at[1]!, name, how)));
    parts.push(text(right + GAP, y(i) + 4, String(totals[i]), 'class="faint"'));
  }
  for (const [i, row] of matrix.entries()) {
    for (const [j, count] of row.entries()) {
      if (count === 0) continue;
      const share = percent(count, totals[i]!);
      const place = `x="${(left + j * cell).toFixed(1)}" y="${(top + i * cell).toFixed(1)}" width="${cell}" height="${cell}"`;
      const opacity = (0.08 + (0.7 * count) / totals[i]!).toFixed(3);
      const says = `${quoted(classes[i]!)}, predicted as ${quoted(classes[j]!)}: ${count} of ${totals[i]} (${share})`;
      parts.push(
        `<g><title>${says}</title><rect ${place} class="${i === j ? "right" : "wrong"}" fill-opacity="${opacity}"/>`,
        text(x(j), y(i) - 1, String(count), `text-anchor="middle" font-size="${fitted(String(count), cell, countSize)}"`),
        `<text x="${x(j).toFixed(1)}" y="${(y(i) + shareSize + 1).toFixed(1)}" text-anchor="middle" font-size="${shareSize}">${share}</text></g>`,
      );
    }
  }
  const lines = Array.from({ length: classes.length + 1 }, (_, k) => [left + k * cell, top + k * cell] as const);
  parts.push(
    `<path class="grid" d="${lines.map(([across, down]) => `M${across.toFixed(1)} ${top.toFixed(1)}V${bottom.toFixed(1)}M${left.toFixed(1)} ${down.toFixed(1)}H${right.toFixed(1)}`).join("")}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="Helvetica, Arial, sans-serif" font-size="${FONT}">
<title>${quoted(title)}</title>
<style>
text { fill: #111 } .title { font-size: ${TITLE}px; font-weight: bold } .axis { font-weight: bold } .faint { fill: #666 } .paper { fill: #fff }
.grid { stroke: #ddd; fill: none } .right { fill: #4477aa } .wrong { fill: #bb5544 }
@media (prefers-color-scheme: dark) {
  text { fill: #eee } .faint { fill: #aaa } .paper { fill: #181a1c } .grid { stroke: #3a3d40 }
}
</style>
<rect width="100%" height="100%" class="paper"/>
${parts.join("\n")}
</svg>
`;
}

/** The size of letters at which a number fits into its cell. */
const fitted = (number: string, cell: number, size: number): number =>
  Math.min(size, Math.floor((10 * (cell - 4)) / approximateWidth(number, 1)) / 10);
