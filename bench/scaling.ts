import type { ModelRow } from "./model.js";
import { number } from "./report.js";
import { COLOURS, text, WIDTH } from "./svg.js";

/** Images per second by batch size, a line a model and tier, both axes in powers of two: what is gained by waiting for a batch. */
export function scaling(rows: readonly ModelRow[], top: number): { svg: string; height: number } {
  const lines = new Map<string, ModelRow[]>();
  for (const row of rows) lines.set(`${row.model}, ${row.tier}`, [...(lines.get(`${row.model}, ${row.tier}`) ?? []), row]);
  for (const [name, points] of lines) if (points.length < 2) lines.delete(name);
  const all = [...lines.values()].flat();
  if (all.length === 0) return { svg: "", height: 0 };

  const box = { left: 80, right: WIDTH - 220, top: top + 40, bottom: top + 320 };
  const power = (value: number, round: (x: number) => number) => round(Math.log2(value));
  const batches = all.map(({ batch }) => batch);
  const rates = all.flatMap((row) => [row.imagesPerSecond, row.streamedImagesPerSecond]);
  const xs = [power(Math.min(...batches), Math.floor), power(Math.max(...batches), Math.ceil)] as const;
  const ys = [power(Math.min(...rates), Math.floor), power(Math.max(...rates), Math.ceil)] as const;
  const x = (batch: number) => box.left + ((Math.log2(batch) - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left);
  const y = (rate: number) => box.bottom - ((Math.log2(rate) - ys[0]) / Math.max(1, ys[1] - ys[0])) * (box.bottom - box.top);

  const parts = [
    text(20, top + 20, "Images per second by batch: one batch at a time (line), two under way (dots)", 'class="title"'),
  ];
  for (let exponent = xs[0]; exponent <= xs[1]; exponent++) {
    const at = x(2 ** exponent);
    parts.push(`<path d="M${at} ${box.top}V${box.bottom}" class="grid"/>`);
    parts.push(text(at, box.bottom + 18, String(2 ** exponent), 'text-anchor="middle"'));
  }
  for (let exponent = ys[0]; exponent <= ys[1]; exponent++) {
    const at = y(2 ** exponent);
    parts.push(`<path d="M${box.left} ${at}H${box.right}" class="grid"/>`);
    parts.push(text(box.left - 8, at + 4, number(2 ** exponent), 'text-anchor="end"'));
  }
  for (const [index, [name, points]] of [...lines].entries()) {
    const colour = COLOURS[index % COLOURS.length]!;
    const sorted = [...points].sort((a, b) => a.batch - b.batch);
    const path = sorted.map((row) => `${x(row.batch).toFixed(1)} ${y(row.imagesPerSecond).toFixed(1)}`).join("L");
    parts.push(`<path d="M${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const row of sorted) {
      const at = `cx="${x(row.batch).toFixed(1)}" cy="${y(row.streamedImagesPerSecond).toFixed(1)}"`;
      parts.push(
        `<circle ${at} r="4" fill="${colour}"><title>${name} ×${row.batch}: ${number(row.imagesPerSecond)} images/s, ${number(row.streamedImagesPerSecond)} with two batches under way</title></circle>`,
      );
    }
    const last = sorted.at(-1)!;
    const label = `${name}: ${number(last.imagesPerSecond)} at ${last.batch}`;
    parts.push(`<rect x="${box.right + 20}" y="${box.top + 22 * index}" width="10" height="10" fill="${colour}"/>`);
    parts.push(text(box.right + 36, box.top + 9 + 22 * index, label));
  }
  parts.push(text((box.left + box.right) / 2, box.bottom + 38, "images a batch", 'text-anchor="middle"'));
  return { svg: parts.join("\n"), height: 380 };
}
