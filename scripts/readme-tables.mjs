// Makes the tables of measured speed in README.md from bench/results/*.json, between the markers there.
//   node scripts/readme-tables.mjs            # rewrites README.md
//   node scripts/readme-tables.mjs --check    # exit code 1 where README.md is not what the files say
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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

/** Where, when and of what commit a run was, with a link to it. */
function origin(run) {
  const { adapter, host, date, commit } = run.environment;
  const machine = adapter.software
    ? `${adapter.name} on ${host.cores} cores of ${host.cpu}`
    : `${adapter.name}, driver ${adapter.driver}`;
  return `${machine}; ${date.slice(0, 10)}, ${commit ?? "no commit"} ([all of it](bench/results/${run.name}))`;
}

function models(run) {
  const rows = run.models.map(
    (row) =>
      `| ${row.model}, ${row.imageSize} px | ${row.tier} | ${row.batch} | ${["plain", "pair", "banked", "restyle"].map((mode) => rate(row, mode)).join(" | ")} |`,
  );
  return [
    `${origin(run)}. Images per second, medians:`,
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

function training(run) {
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
    `Training, ${origin(run)}. Whole steps, medians; shares of the device's time; MiB of device memory per pair, in parentheses with --recompute:`,
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
const lines = withModels.flatMap((run) => [...models(run), ...(run.rivals ? rivals(run) : []), ""]);
lines.push(...runs.filter((run) => run.training?.length > 0).flatMap((run) => [...training(run), ""]));
if (!runs.some((run) => run.environment && !run.environment.adapter.software))
  lines.push("On GPU hardware: **not yet measured**.", "");

const path = join(root, "README.md");
const readme = readFileSync(path, "utf8");
const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)];
if (from < 0 || to < from) {
  process.stderr.write(`README.md has no ${BEGIN} ... ${END}\n`);
  process.exit(1);
}
const made = `${readme.slice(0, from)}${BEGIN}\n\n${lines.join("\n")}\n${readme.slice(to)}`;
if (made === readme) process.stderr.write("README.md says what bench/results says\n");
else if (process.argv.includes("--check")) {
  process.stderr.write("README.md does not say what bench/results says: npm run results\n");
  process.exit(1);
} else writeFileSync(path, made);
