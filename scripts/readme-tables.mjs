// Makes the tables of measured figures in README.md, docs/speed.md and docs/accuracy.md from bench/results/*.json, between the
// markers there.
//   node scripts/readme-tables.mjs            # rewrites them
//   node scripts/readme-tables.mjs --check    # exit code 1 where one is not what the files say
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "bench", "results");
const [BEGIN, END] = ["<!-- measured: npm run results -->", "<!-- end of measured -->"];

const runs = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .sort()
  .map((name) => ({ name, ...JSON.parse(readFileSync(join(folder, name), "utf8")) }));

// Files from before there was a version are of the first.
const newer = runs.find((run) => (run.schemaVersion ?? 1) > 1);
if (newer) {
  process.stderr.write(`bench/results/${newer.name} has schema version ${newer.schemaVersion}, and this script reads 1\n`);
  process.exit(1);
}

/** Three significant digits. */
const number = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
const rate = (row, mode) => (row.milliseconds[mode] ? number((1000 * row.batch) / row.milliseconds[mode].median) : "");

/** Where, when and of what commit a run was, with a link to it from a document. */
function origin(run, document) {
  const { adapter, host, date, commit } = run.environment;
  const machine = adapter.software
    ? `${adapter.name} on ${host.cores} cores of ${host.cpu}`
    : `${adapter.name}, driver ${adapter.driver}`;
  const file = relative(dirname(join(root, document)), join(folder, run.name)).replaceAll("\\", "/");
  return `${machine}; ${date.slice(0, 10)}, ${commit ?? "no commit"} ([all of it](${file}))`;
}

function models(run, document) {
  const rows = run.models.map(
    (row) =>
      `| ${row.model}, ${row.imageSize} px | ${row.tier} | ${row.batch} | ${["plain", "pair", "banked", "restyle"].map((mode) => rate(row, mode)).join(" | ")} |`,
  );
  return [
    `${origin(run, document)}. Images per second, medians:`,
    "",
    "| model | tier | batch | as published | pair | with a style bank | many styles, one content |",
    "|---|---|---|---|---|---|---|",
    ...rows,
  ];
}

function rivals(run) {
  const rows = run.rivals
    .filter((row) => row.ratio !== undefined)
    .map(
      (row) =>
        `| ${row.model} ×${row.batch} | ${row.rival} | ${number(row.ratio)} | ${row.error === undefined ? "" : row.error.toExponential(0)} |`,
    );
  if (rows.length === 0) return [];
  return [
    "",
    "Beside rivals in the same run, their time over ours (above 1: ours is faster):",
    "",
    "| model | rival | its time ÷ ours | its error |",
    "|---|---|---|---|",
    ...rows,
  ];
}

function training(run, document) {
  // What older documents call them.
  const names = { features: ["features", "vgg"], GEMM: ["GEMM", "products"] };
  const share = (row, name) => {
    const found = row.shares?.find((one) => (names[name] ?? [name]).includes(one.share));
    return found ? `${(100 * found.part).toFixed(0)} %` : "";
  };
  const mebibytes = (bytes) => number(bytes / 2 ** 20);
  const rows = run.training.map(({ memory, ...row }) => {
    const cells = [
      `${row.model}, ${row.imageSize} px`,
      row.tier,
      row.batch,
      number(row.pairsPerSecond),
      ...["features", "GEMM", "attention", "rest"].map((name) => share(row, name)),
      `${mebibytes(memory.keeping.bytesPerPair)} (${mebibytes(memory.recomputing.bytesPerPair)})`,
    ];
    return `| ${cells.join(" | ")} |`;
  });
  const rivals = (run.trainingRivals ?? [])
    .filter((row) => row.ratio !== undefined)
    .map(
      (row) =>
        `| ${row.model} ×${row.batch}, ${row.tier} | ${row.rival} | ${number(row.ratio)} | ${row.lossDifference.toExponential(0)} |`,
    );
  return [
    `${origin(run, document)}. Whole steps, medians; shares of the device's time; MiB of device memory per pair, in parentheses with --recompute:`,
    "",
    "| model | tier | batch | pairs per second | VGG-19 | GEMM | attention | rest | MiB per pair |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows,
    ...(rivals.length === 0
      ? []
      : [
          "",
          "Steps in turns with a rival's, its time over ours (above 1: ours is faster):",
          "",
          "| model | rival | its time ÷ ours | losses differ by |",
          "|---|---|---|---|",
          ...rivals,
        ]),
  ];
}

const withModels = runs.filter((run) => run.models?.length > 0);
const withTraining = runs.filter((run) => run.training?.length > 0);
const onHardware = runs.some((run) => run.environment && !run.environment.adapter.software);
const NOT_YET = onHardware ? [] : ["On GPU hardware: **not yet measured**.", ""];

/** What README has room for: one image at a time, in f32, beside who else runs the model. */
function short(document) {
  const beside = [
    ["PyTorch", /^PyTorch eager f32/],
    ["onnxruntime, CPU", /^onnxruntime-node CPU/],
    ["onnxruntime, WebGPU", /^onnxruntime-node WebGPU/],
  ];
  return withModels.flatMap((run) => [
    `${origin(run, document)}. Images per second, one at a time, f32; then a rival's time over ours in the same run (above 1: ours is faster):`,
    "",
    `| model | pair | with a style bank | ${beside.map(([name]) => `${name} ÷ ours`).join(" | ")} |`,
    `|---|---|---|${"---|".repeat(beside.length)}`,
    ...run.models
      .filter(({ batch, tier }) => batch === 1 && tier === "f32")
      .map((row) => {
        const ratios = beside.map(([, pattern]) => {
          const rival = run.rivals?.find(({ model, batch, rival }) => model === row.model && batch === 1 && pattern.test(rival));
          return rival?.ratio === undefined ? "" : number(rival.ratio);
        });
        return `| ${row.model}, ${row.imageSize} px | ${rate(row, "pair")} | ${rate(row, "banked")} | ${ratios.join(" | ")} |`;
      }),
    "",
  ]);
}

function speed(document) {
  return [
    ...withModels.flatMap((run) => [...models(run, document), ...(run.rivals ? rivals(run) : []), ""]),
    "## Training",
    "",
    ...withTraining.flatMap((run) => [...training(run, document), ""]),
    ...NOT_YET,
  ];
}

/** Of the golden cases, as the benches checked them before they timed anything. */
function parity(document) {
  return runs
    .filter((run) => run.parity?.length > 0)
    .flatMap((run) => [
      `${origin(run, document)}:`,
      "",
      "| case | tier | batch | largest error | bound |",
      "|---|---|---|---|---|",
      ...run.parity.map(
        (row) => `| ${row.case} | ${row.tier} | ${row.batch} | ${row.error.toExponential(1)} | ${row.bound.toExponential(0)} |`,
      ),
      "",
    ]);
}

const TABLES = {
  "README.md": [...short("README.md"), ...NOT_YET],
  "docs/speed.md": speed("docs/speed.md"),
  "docs/accuracy.md": parity("docs/accuracy.md"),
};

for (const [document, lines] of Object.entries(TABLES)) {
  const path = join(root, document);
  const text = readFileSync(path, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) {
    process.stderr.write(`${document} has no ${BEGIN} ... ${END}\n`);
    process.exit(1);
  }
  const made = `${text.slice(0, from)}${BEGIN}\n\n${lines.join("\n")}\n${text.slice(to)}`;
  if (made === text) process.stderr.write(`${document} says what bench/results says\n`);
  else if (process.argv.includes("--check")) {
    process.stderr.write(`${document} does not say what bench/results says: npm run results\n`);
    process.exit(1);
  } else writeFileSync(path, made);
}
