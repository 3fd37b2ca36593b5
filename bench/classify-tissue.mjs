// Trains a small ViT classifier on drawn tissue, tumour against none, in two hospitals, and tests it in a third.
//   npm run build && node bench/classify-tissue.mjs [--out FOLDER] [--tiles N] [--epochs N] [--adapter auto|hardware|software]
// Beside it stands what needs no network: chance, and a logistic regression on the mean and the deviation of every channel.
// Everything is drawn and seeded, so that a run can be repeated. Uses the public library alone.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { Classifier, HOSPITALS, measureStatistics, paintTissue, Trainer } from "../dist/index.js";

const { values: given } = parseArgs({
  options: {
    out: { type: "string", default: "tissue-classes" },
    tiles: { type: "string", default: "250" },
    epochs: { type: "string", default: "20" },
    adapter: { type: "string", default: "auto" },
  },
});
const { out, adapter } = given;
const [tiles, epochs] = [Number(given.tiles), Number(given.epochs)];

/** Pixels of a side, and µm a pixel: a field of 48 µm, a few nuclei wide. */
const TILE = { size: 32, micronsPerPixel: 1.5 };
const CLASSES = ["none", "tumour"];
const HEALTHY = ["lymphoid", "stroma", "gland"];
/** Hospitals to train in and to be judged in, each with tiles of its own; the third is seen by nobody before the end. */
const SPLITS = [
  { name: "train", hospitals: [0, 1], count: tiles },
  { name: "val", hospitals: [0, 1], count: Math.ceil(tiles / 5) },
  { name: "held", hospitals: [2], count: Math.ceil(tiles / 2) },
];
const MODEL = {
  ...{ kind: "vit", image_size: 32, in_channels: 3, patch_size: 8, embed_dim: 96, depth: 4, num_heads: 3, mlp_ratio: 2 },
  ...{ qkv_bias: true, num_classes: 2 },
};

/** Tiles of a class in a hospital, from a seed on. Tumour covers more than half of one, or none of it. */
function* draw(label, hospital, count, seed) {
  for (let made = 0; made < count; seed++) {
    const kind = label === 1 ? "tumour" : HEALTHY[seed % HEALTHY.length];
    const tile = paintTissue({ ...TILE, seed, hospital, kind });
    if (label === 1 ? tile.tumourFraction < 0.5 : tile.tumourFraction > 0) continue;
    made++;
    yield { data: tile.data, width: TILE.size, height: TILE.size, channels: 3, seed };
  }
}

const sets = {};
let seed = 1;
for (const { name, hospitals, count } of SPLITS) {
  sets[name] = [];
  for (const hospital of hospitals) {
    for (const [label, folder] of CLASSES.entries()) {
      const path = join(out, name, folder);
      mkdirSync(path, { recursive: true });
      for (const image of draw(label, hospital, count, seed)) {
        const { data, width, height, channels } = image;
        const file = join(path, `${HOSPITALS[hospital].name}-${image.seed}.png`);
        await sharp(data, { raw: { width, height, channels } }).png().toFile(file);
        sets[name].push({ image, label });
        seed = image.seed + 1;
      }
    }
  }
}
console.log(`drew ${sets.train.length} tiles to train with, ${sets.val.length} to validate with, ${sets.held.length} held back`);

/** Mean recall of both classes. */
function balanced(truth, said) {
  const recall = (label) => {
    const own = truth.flatMap((one, i) => (one === label ? [said[i]] : []));
    return own.filter((one) => one === label).length / own.length;
  };
  return (recall(0) + recall(1)) / 2;
}

/** Logistic regression on the six moments of a tile, standardised, by Newton's method with a little L2. @returns its answers */
function regress(training, test) {
  const features = ({ image }) => {
    const { mean, std } = measureStatistics([image]);
    return [...mean, ...std];
  };
  const rows = training.map(features);
  const centre = rows[0].map((_, c) => rows.reduce((sum, row) => sum + row[c], 0) / rows.length);
  const spread = centre.map((m, c) => Math.sqrt(rows.reduce((sum, row) => sum + (row[c] - m) ** 2, 0) / rows.length));
  const standard = (row) => [1, ...row.map((x, c) => (x - centre[c]) / spread[c])];
  const x = rows.map(standard);
  const weights = new Array(x[0].length).fill(0);
  const score = (row) => row.reduce((sum, value, c) => sum + value * weights[c], 0);
  for (let step = 0; step < 30; step++) {
    const gradient = weights.map((w) => 1e-3 * w);
    const hessian = weights.map((_, r) => weights.map((__, c) => (r === c ? 1e-3 : 0)));
    for (const [i, row] of x.entries()) {
      const p = 1 / (1 + Math.exp(-score(row)));
      for (let r = 0; r < row.length; r++) {
        gradient[r] += (p - training[i].label) * row[r];
        for (let c = 0; c < row.length; c++) hessian[r][c] += p * (1 - p) * row[r] * row[c];
      }
    }
    for (const [r, value] of solve(hessian, gradient).entries()) weights[r] -= value;
  }
  return test.map((one) => (score(standard(features(one))) > 0 ? 1 : 0));
}

/** Gaussian elimination; the matrix is symmetric and positive definite. */
function solve(matrix, right) {
  const rows = matrix.map((row, r) => [...row, right[r]]);
  for (let p = 0; p < rows.length; p++) {
    for (let r = 0; r < rows.length; r++) {
      if (r === p) continue;
      const factor = rows[r][p] / rows[p][p];
      for (let c = p; c <= rows.length; c++) rows[r][c] -= factor * rows[p][c];
    }
  }
  return rows.map((row, r) => row[rows.length] / row[r]);
}

const run = join(out, "run");
const begun = performance.now();
const trainer = await Trainer.create({
  ...{ task: "classify", data: [join(out, "train")], val: [join(out, "val")], out: run, config: MODEL, epochs, batch: 32 },
  ...{ lr: 1e-3, optimizer: "adamw", weightDecay: 0.05, decay: "timm", flips: true, adapter },
});
for await (const progress of trainer.run()) {
  if (progress.kind !== "epoch") continue;
  const { epoch, training, validation, balancedAccuracy, best } = progress;
  const losses = `loss ${training.total.toFixed(3)}, validation ${validation.total.toFixed(3)}`;
  console.log(`epoch ${epoch}: ${losses}, balanced accuracy ${balancedAccuracy.toFixed(3)}${best ? ", the best so far" : ""}`);
}
await trainer.dispose();
const seconds = (performance.now() - begun) / 1000;

const classifier = await Classifier.load(run, { adapter });
const truth = sets.held.map(({ label }) => label);
const answers = await classifier.classify(sets.held.map(({ image }) => image));
const results = {
  chance: 0.5,
  moments: balanced(truth, regress(sets.train, sets.held)),
  classifier: balanced(
    truth,
    answers.map(({ index }) => index),
  ),
  seconds: Math.round(seconds),
  adapter: classifier.report.adapter.name,
};
writeFileSync(join(out, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
console.log(`balanced accuracy in ${HOSPITALS[2].name}, a hospital that nobody trained in:`);
console.log(`  chance                                  ${results.chance.toFixed(3)}`);
console.log(`  logistic regression on channel moments  ${results.moments.toFixed(3)}`);
console.log(`  ViT, trained in ${String(results.seconds).padStart(4)} s                  ${results.classifier.toFixed(3)}`);
console.log(`the curve, the confusion matrix and the mistakes are in ${run}`);
classifier.dispose();
