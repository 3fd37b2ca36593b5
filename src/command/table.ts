/** Columns that a text takes on a terminal: East Asian letters and pictographs take two, marks none. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text)
    if (!/\p{Mark}/u.test(character))
      columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}\u{20000}-\u{3ffff}]/u.test(character) ? 2 : 1; // biome-ignore format: one range
  return columns;
}

/** Without what would move a terminal's cursor. */
const harmless = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, "?");

/** A text of at most `width` columns: whole, or with "…" in front of its end, which tells files apart, or behind its beginning. */
export function shortened(text: string, width: number, keep: "start" | "end"): string {
  if (columnsOf(text) <= width) return text;
  const letters = Array.from(text);
  while (letters.length > 0 && columnsOf(letters.join("")) > width - 1) keep === "start" ? letters.pop() : letters.shift();
  return keep === "start" ? `${letters.join("")}…` : `…${letters.join("")}`;
}

export interface Column {
  head: string;
  /** Where its cells stand. */
  align: "left" | "right";
  /** What is kept of a cell that is too wide; columns without may not be cut. */
  keep?: "start" | "end";
}

/** Between two columns. */
const GAP = "  ";
/** Columns are not made narrower for the sake of others. */
const NARROWEST = 12;

/**
 * Rows under a line of heads, aligned. Where they are wider than `width`, the widest of the columns that may be cut are; where that
 * is not enough, the last columns of all rows are left out.
 * @param width columns of the terminal; undefined where there is none, and nothing is cut
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width?: number): string {
  const cells = [columns.map(({ head }) => head), ...rows.map((row) => row.map(harmless))];
  const widths = columns.map((_, at) => cells.reduce((most, row) => Math.max(most, columnsOf(row[at] ?? "")), 0));
  let shown = columns.length;
  if (width !== undefined) {
    const total = () => widths.slice(0, shown).reduce((sum, one) => sum + one, (shown - 1) * GAP.length);
    while (total() > width) {
      const cuttable = widths.flatMap((one, at) => (at < shown && columns[at]!.keep && one > NARROWEST ? [at] : []));
      const widest = cuttable.reduce((best, at) => (best < 0 || widths[at]! > widths[best]! ? at : best), -1);
      if (widest >= 0) widths[widest]!--;
      else if (shown > 1) shown--;
      else break;
    }
  }
  const line = (row: readonly string[]) =>
    columns
      .slice(0, shown)
      .map(({ align, keep }, at) => {
        const text = keep ? shortened(row[at] ?? "", widths[at]!, keep) : (row[at] ?? "");
        const space = " ".repeat(Math.max(0, widths[at]! - columnsOf(text)));
        return align === "left" ? text + space : space + text;
      })
      .join(GAP)
      .trimEnd();
  return cells.map((row) => `${line(row)}\n`).join("");
}
