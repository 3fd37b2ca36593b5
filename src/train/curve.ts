import { text } from "../image/svg.js";
import type { EpochReport } from "./progress.js";
import type { LossSums } from "./types.js";

const WIDTH = 860;
const HEIGHT = 440;
const BOX = { left: 64, right: WIDTH - 190, top: 46, bottom: HEIGHT - 52 };
/** Between the labels of lines that end beside each other. */
const LABEL_GAP = 16;

/** Told apart in light and dark, and by people who see red and green alike. */
const COLOURS = ["#4477aa", "#cc8800", "#229988", "#bb4488", "#66aa22", "#8866cc"];

interface Line {
  name: string;
  /** Of its stroke. */
  kind: string;
  values: number[];
}

/** Powers of ten, and twice and five times them where there would be few. */
function ticks(low: number, high: number): number[] {
  const all: number[] = [];
  const factors = high / low > 200 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    all.push(...factors.map((factor) => factor * 10 ** power));
  return all.filter((value) => value >= low && value <= high);
}

/**
 * The losses by epoch as an SVG, on a logarithmic scale: the total over training images (solid) and validation images
 * (dashed), and the weighted terms of training. The best epoch is marked. It can be read on light and on dark pages.
 */
export function curveSvg(log: readonly EpochReport[], weights: Readonly<LossSums>, epochs: number, title = "Training"): string {
  const weighed = Object.entries(weights).filter(([, weight]) => weight > 0);
  const lines: Line[] = [
    { name: "training", kind: "total", values: log.map(({ training }) => training.total) },
    { name: "validation", kind: "total dashed", values: log.map(({ validation }) => validation.total) },
    // A single term is the total itself.
    ...(weighed.length > 1 ? weighed : []).map(([term, weight]) => ({
      ...{ name: weight === 1 ? term : `${weight} × ${term}`, kind: term },
      values: log.map(({ training }) => weight * (training as LossSums)[term]!),
    })),
  ];
  const values = lines.flatMap((line) => line.values).filter((value) => value > 0);
  const [least, most] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0.1, 1];
  const [low, high] = [least / 1.15, most * 1.15];
  const x = (epoch: number) => BOX.left + ((epoch - 1) / Math.max(1, epochs - 1)) * (BOX.right - BOX.left);
  const y = (value: number) => BOX.bottom - (Math.log(value / low) / Math.log(high / low)) * (BOX.bottom - BOX.top);

  const parts = [text(20, 26, title, 'class="title"')];
  for (const value of ticks(low, high)) {
    parts.push(`<path d="M${BOX.left} ${y(value).toFixed(1)}H${BOX.right}" class="grid"/>`);
    parts.push(text(BOX.left - 8, y(value) + 4, String(Number(value.toPrecision(1))), 'text-anchor="end"'));
  }
  const stride = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => epochs / step <= 10) ?? 1000;
  for (let epoch = stride; epoch <= epochs; epoch += stride)
    parts.push(text(x(epoch), BOX.bottom + 20, String(epoch), 'text-anchor="middle"'));
  parts.push(text((BOX.left + BOX.right) / 2, BOX.bottom + 38, "epoch", 'text-anchor="middle"'));
  parts.push(`<path d="M${BOX.left} ${BOX.top}V${BOX.bottom}H${BOX.right}" class="axis"/>`);

  const labels: { y: number; line: Line }[] = [];
  for (const line of lines) {
    const points = line.values.flatMap((value, i) =>
      value > 0 ? [`${x(log[i]!.epoch).toFixed(1)} ${y(value).toFixed(1)}`] : [],
    );
    if (points.length === 0) continue;
    // A single point is no line: a round cap makes it a dot.
    parts.push(`<path d="M${points.length > 1 ? points.join("L") : `${points[0]}h.01`}" class="line ${line.kind}"/>`);
    labels.push({ y: y(line.values.findLast((value) => value > 0)!), line });
  }
  labels.sort((a, b) => a.y - b.y);
  let next = Math.min(BOX.top, BOX.bottom - labels.length * LABEL_GAP);
  for (const [i, { y: wanted, line }] of labels.entries()) {
    // As near the line's end as those above and below leave room for.
    next = Math.min(Math.max(wanted, next), BOX.bottom - (labels.length - 1 - i) * LABEL_GAP);
    parts.push(`<path d="M${BOX.right + 12} ${next.toFixed(1)}h22" class="line ${line.kind}"/>`);
    parts.push(text(BOX.right + 40, next + 4, line.name));
    next += LABEL_GAP;
  }
  const best = log.findLast((line) => line.best);
  if (best) {
    const at = `cx="${x(best.epoch).toFixed(1)}" cy="${y(best.validation.total).toFixed(1)}"`;
    parts.push(`<circle ${at} r="5" class="best"/>`);
    const says = `best: epoch ${best.epoch}, ${best.validation.total.toPrecision(4)}`;
    parts.push(text(BOX.right, 26, says, 'text-anchor="end"'));
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="Helvetica, Arial, sans-serif" font-size="12">
<title>Losses by epoch</title>
<style>
text { fill: #222 } .title { font-size: 15px; font-weight: bold } .paper { fill: #fff }
.grid { stroke: #ddd } .axis, .best { stroke: #222; fill: none }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round } .dashed { stroke-dasharray: 5 5 } .total { stroke: #222 }
${Object.keys(weights)
  .map((term, index) => `.${term} { stroke: ${COLOURS[index % COLOURS.length]} }`)
  .join(" ")}
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .paper { fill: #181a1c } .grid { stroke: #3a3d40 } .axis, .best, .total { stroke: #ddd }
}
</style>
<rect width="100%" height="100%" class="paper"/>
${parts.join("\n")}
</svg>
`;
}
