import type { Environment } from "./environment.js";
import { ladder } from "./ladder/bars.js";
import type { LadderRow } from "./ladder/bench.js";
import type { ModelRow } from "./model.js";
import type { OpRow } from "./ops.js";
import { type Peak, peakFlops } from "./peak.js";
import { number } from "./report.js";
import { scaling } from "./scaling.js";
import { COLOURS, quoted, text, WIDTH } from "./svg.js";

/** Images per second by batch, share of time by kernel, a bar a model and batch, one roofline a tier, and the ladders, as SVG. */

/** A colour for each kernel or op, the same in both halves: `linear_quad` is `linear`. */
function palette() {
  const known = new Map<string, string>();
  return (name: string) => {
    const op = opOf(name);
    if (!known.has(op)) known.set(op, COLOURS[known.size % COLOURS.length]!);
    return known.get(op)!;
  };
}

/** The op of a kernel's entry point: `linear_quad.quad` is `linear`. */
const opOf = (kernel: string): string => kernel.replace(/\..*$/, "").replace(/_quad$/, "");

function bars(rows: readonly ModelRow[], top: number, colour: (name: string) => string): { svg: string; height: number } {
  const left = 190;
  const width = WIDTH - left - 30;
  const parts = [text(20, top + 20, "Share of device time by kernel, pairs", 'class="title"')];
  let y = top + 40;
  for (const row of rows) {
    if (!row.kernels) continue;
    parts.push(text(left - 12, y + 17, `${row.model} ×${row.batch}, ${row.tier}`, 'text-anchor="end"'));
    let x = left;
    for (const { kernel, share } of row.kernels) {
      const name = kernel.replace(/\..*$/, "");
      parts.push(
        `<rect x="${x.toFixed(1)}" y="${y}" width="${(share * width).toFixed(1)}" height="24" fill="${colour(kernel)}"><title>${quoted(kernel)} ${(100 * share).toFixed(1)} %</title></rect>`,
      );
      const label = `${name} ${Math.round(100 * share)} %`;
      if (share * width > 7 * label.length) parts.push(text(x + 6, y + 16, label, 'fill="#fff"'));
      x += share * width;
    }
    y += 34;
  }
  let x = left;
  for (const kernel of new Set(rows.flatMap((row) => row.kernels ?? []).map((row) => opOf(row.kernel)))) {
    parts.push(`<rect x="${x}" y="${y + 2}" width="10" height="10" fill="${colour(kernel)}"/>`, text(x + 15, y + 11, kernel));
    x += 34 + 6.5 * kernel.length;
  }
  return { svg: parts.join("\n"), height: y - top + 40 };
}

function roofline(
  rows: readonly OpRow[],
  peak: Peak,
  tier: string,
  top: number,
  colour: (name: string) => string,
): { svg: string; height: number } {
  const points = rows.filter((row) => row.tier === tier && row.gflops !== undefined);
  if (points.length === 0) return { svg: "", height: 0 };
  const box = { left: 80, right: WIDTH - 180, top: top + 40, bottom: top + 400 };
  const roof = peakFlops(peak);
  const intensities = points.map((row) => row.flops / row.bytes);
  const decade = (value: number, round: (x: number) => number) => round(Math.log10(value));
  const xs = [
    decade(Math.min(...intensities, roof / peak.copy), Math.floor),
    decade(Math.max(...intensities, roof / peak.copy), Math.ceil),
  ] as const;
  const ys = [
    decade(Math.min(...points.map((row) => row.gflops!), roof) / 1.5, Math.floor),
    decade(roof * 1.2, Math.ceil),
  ] as const;
  const x = (value: number) => box.left + ((Math.log10(value) - xs[0]) / (xs[1] - xs[0])) * (box.right - box.left);
  const y = (value: number) => box.bottom - ((Math.log10(value) - ys[0]) / (ys[1] - ys[0])) * (box.bottom - box.top);

  const parts = [
    text(20, top + 20, `Roofline, ${tier}: ${number(roof)} GFLOP/s and ${number(peak.copy)} GB/s measured`, 'class="title"'),
  ];
  for (let power = xs[0]; power <= xs[1]; power++) {
    parts.push(
      `<path d="M${x(10 ** power)} ${box.top}V${box.bottom}" class="grid"/>`,
      text(x(10 ** power), box.bottom + 18, String(10 ** power), 'text-anchor="middle"'),
    );
  }
  for (let power = ys[0]; power <= ys[1]; power++) {
    parts.push(
      `<path d="M${box.left} ${y(10 ** power)}H${box.right}" class="grid"/>`,
      text(box.left - 8, y(10 ** power) + 4, String(10 ** power), 'text-anchor="end"'),
    );
  }
  const ridge = roof / peak.copy;
  // The slanted half enters through the left edge or through the bottom, whichever comes first.
  const start = Math.max(10 ** xs[0], 10 ** ys[0] / peak.copy);
  parts.push(
    `<path d="M${x(start)} ${y(start * peak.copy)}L${x(ridge)} ${y(roof)}H${box.right}" fill="none" stroke="#333" stroke-width="2"/>`,
  );
  for (const row of points) {
    const radius = 4 + 1.5 * Math.log10(row.batch);
    parts.push(
      `<circle cx="${x(row.flops / row.bytes).toFixed(1)}" cy="${y(row.gflops!).toFixed(1)}" r="${radius.toFixed(1)}" fill="${colour(row.op)}" fill-opacity=".75" stroke="#fff">` +
        `<title>${quoted(`${row.op} ${row.model ?? ""} ×${row.batch} ${row.case}, ${row.shape}: ${number(row.gflops!)} GFLOP/s`)}</title></circle>`,
    );
  }
  const ops = [...new Set(points.map((row) => row.op))];
  for (const [index, op] of ops.entries()) {
    parts.push(
      `<circle cx="${box.right + 24}" cy="${box.top + 12 + 22 * index}" r="5" fill="${colour(op)}"/>`,
      text(box.right + 36, box.top + 16 + 22 * index, op),
    );
  }
  parts.push(text((box.left + box.right) / 2, box.bottom + 38, "operations a byte", 'text-anchor="middle"'));
  parts.push(text(0, 0, "GFLOP/s", `text-anchor="middle" transform="translate(28 ${(box.top + box.bottom) / 2}) rotate(-90)"`));
  return { svg: parts.join("\n"), height: 460 };
}

export function drawFigure(document: Record<string, unknown>): string {
  const {
    models = [],
    ops = [],
    ladder: steps = [],
    tiers = {},
    environment,
  } = document as {
    models?: ModelRow[];
    ops?: OpRow[];
    ladder?: LadderRow[];
    tiers?: Record<string, { peak: Peak }>;
    environment?: Environment;
  };
  const colour = palette();
  const parts: string[] = [];
  let top = 50;
  if (environment) {
    const { adapter, date, commit } = environment;
    parts.push(text(20, 28, `${adapter.name}, ${adapter.driver} · ${date.slice(0, 10)} · ${commit ?? "no commit"}`));
  }
  const halves = [
    (at: number) => scaling(models, at),
    (at: number) => (models.some((row) => row.kernels) ? bars(models, at, colour) : { svg: "", height: 0 }),
    ...Object.entries(tiers).map(
      ([tier, { peak }]) =>
        (at: number) =>
          roofline(ops, peak, tier, at, colour),
    ),
    ...[...new Set(steps.map(({ op, shape }) => `Ladder of ${op}, ${shape}`))].map(
      (title) => (at: number) =>
        ladder(
          steps.filter(({ op, shape }) => title === `Ladder of ${op}, ${shape}`),
          title,
          at,
          colour,
        ),
    ),
  ];
  for (const draw of halves) {
    const { svg, height } = draw(top);
    parts.push(svg);
    top += height;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top + 10}" width="${WIDTH}" height="${top + 10}" font-family="Helvetica, Arial, sans-serif" font-size="12">
<style>.title { font-size: 15px; font-weight: bold } .grid { stroke: #ddd }</style>
<rect width="100%" height="100%" fill="#fff"/>
${parts.join("\n")}
</svg>
`;
}
