import { number } from "../report.js";
import { quoted, text, WIDTH } from "../svg.js";
import type { LadderRow } from "./bench.js";

/** A bar a step, as long as what it reaches of the ladder's best. */
export function ladder(
  rows: readonly LadderRow[],
  title: string,
  top: number,
  colour: (name: string) => string,
): { svg: string; height: number } {
  const left = 190;
  const width = WIDTH - left - 190;
  const best = Math.max(...rows.map(({ gflops = 0 }) => gflops));
  const parts = [text(20, top + 20, title, 'class="title"')];
  let y = top + 40;
  for (const row of rows) {
    parts.push(text(left - 12, y + 17, row.step, 'text-anchor="end"'));
    if (row.gflops === undefined)
      parts.push(text(left, y + 17, row.skipped ? `not run: ${row.skipped}` : "failed", 'fill="#777"'));
    else {
      const length = (row.gflops / best) * width;
      parts.push(
        `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="24" fill="${colour(row.op)}"><title>${quoted(row.lesson)}</title></rect>`,
        text(left + length + 8, y + 17, `${number(row.gflops)} GFLOP/s, × ${number(row.timesFirst!)}`),
      );
    }
    y += 30;
  }
  return { svg: parts.join("\n"), height: y - top + 20 };
}
