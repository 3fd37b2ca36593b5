// Prepares the images that the package's own model is trained on: drawn tissue of five stains, and real tiles beside it.
//   node scripts/training-data.mjs OUT [--tiles FOLDER] [--drawn N] [--size PIXELS] [--microns PER_PIXEL]
// FOLDER holds a folder a hospital; the last tile of each, by name, is for validation. Needs a build (npm run build).
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { HOSPITALS, paintTissue } from "../dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tiles: { type: "string" },
    drawn: { type: "string", default: "40" },
    size: { type: "string", default: "512" },
    microns: { type: "string", default: "0.5" },
  },
});
const [out] = positionals;
const [drawn, size, micronsPerPixel] = [values.drawn, values.size, values.microns].map(Number);
if (positionals.length !== 1 || !(drawn >= 1) || !(size >= 1) || !(micronsPerPixel > 0)) {
  process.stderr.write("node scripts/training-data.mjs OUT [--tiles FOLDER] [--drawn N] [--size PIXELS] [--microns PER_PIXEL]\n");
  process.exit(2);
}
for (const kind of ["train", "val"]) mkdirSync(join(out, kind), { recursive: true });

for (let hospital = 0; hospital < HOSPITALS.length; hospital++) {
  // A tenth of the drawn ones are for validation, of seeds that training never sees.
  for (let i = 0; i < drawn + Math.ceil(drawn / 10); i++) {
    const { data } = paintTissue({ size, hospital, seed: 1000 * hospital + i, micronsPerPixel });
    const path = join(out, i < drawn ? "train" : "val", `drawn-${hospital}-${i}.png`);
    await sharp(data, { raw: { width: size, height: size, channels: 3 } }).toFile(path);
  }
}
for (const folder of values.tiles ? readdirSync(values.tiles, { withFileTypes: true }) : []) {
  if (!folder.isDirectory()) continue;
  const files = readdirSync(join(values.tiles, folder.name)).sort();
  for (const [index, file] of files.entries()) {
    const kind = index < files.length - 1 ? "train" : "val";
    copyFileSync(join(values.tiles, folder.name, file), join(out, kind, `${folder.name}-${file}`));
  }
}
process.stderr.write(
  `${readdirSync(join(out, "train")).length} training and ${readdirSync(join(out, "val")).length} validation images in ${out}\n`,
);
