import { join } from "node:path";
import type { Command } from "commander";
import { ensureOutputFolder } from "../image/atomic-write.js";
import { saveImage } from "../image/encode.js";
import { findModel } from "../models/open.js";
import { HOSPITALS, paintTissue, type TissueKind } from "../tissue/painter.js";
import { stopProgress } from "./progress.js";
import { addModelFlags, interruptible, loadOptions, type ModelFlags, note, wholeNumber } from "./shared.js";
import { concludeStylize, type StylizeFlags, stylizeFiles } from "./stylize.js";

type DemoFlags = ModelFlags &
  Pick<StylizeFlags, "out" | "seed"> & {
    content?: string[];
    style?: string[];
  };

/** Of a pixel that the model sees: close to the 40× scans that the one that comes with the package was trained on, with a few more cells to a tile. */
const MICRONS_PER_PIXEL = 0.4;
/** Side of a drawn tile, of which a small model sees a smaller image: results have the tile's size and detail. */
const TILE = 224;

const KINDS: readonly TissueKind[] = ["lymphoid", "tumour", "gland", "stroma", "mixed"];

/** Draws one tile a hospital, with anatomies that differ between contents and styles. @returns the folder. */
async function drawTiles(folder: string, seen: number, seed: number, what: "content" | "style"): Promise<string> {
  await ensureOutputFolder(folder);
  // Tissue is drawn no finer than at .1 µm a pixel.
  const size = Math.max(seen, Math.min(TILE, 4 * seen));
  for (const [index, hospital] of HOSPITALS.entries()) {
    const kind = KINDS[(what === "content" ? index : 0) % KINDS.length]!;
    const tile = paintTissue({
      size,
      hospital,
      kind,
      seed: seed * 1000 + index + (what === "content" ? 0 : 500),
      micronsPerPixel: (MICRONS_PER_PIXEL * seen) / size,
    });
    const name = what === "content" ? `${index + 1}-${kind}` : `${index + 1}-${hospital.name}`;
    await saveImage(join(folder, `${name}.png`), tile, { format: "png" });
  }
  return folder;
}

async function demo(flags: DemoFlags): Promise<void> {
  const out = flags.out;
  await ensureOutputFolder(out);
  const found = await interruptible((signal) => findModel(flags.model, { ...loadOptions(flags), signal }));
  stopProgress();
  const { config } = found;
  const content = flags.content ?? [await drawTiles(join(out, "content"), config.image_size, flags.seed, "content")];
  const style = flags.style ?? [await drawTiles(join(out, "style"), config.image_size, flags.seed, "style")];
  const sheet = join(out, "sheet.png");
  const stylize: StylizeFlags = {
    ...flags,
    content,
    style,
    out: join(out, "results"),
    sheet,
    overwrite: true,
    pair: "all",
    format: "png",
    size: "keep",
  };
  const report = await interruptible((signal) => stylizeFiles(stylize, signal, found));
  process.exitCode = concludeStylize(report, stylize);
  if (report.sheet) note(`look at ${report.sheet}`);
}

export function addDemo(program: Command): void {
  addModelFlags(
    program
      .command("demo")
      .description("paint drawn tissue, or images of your own, in several styles and write a sheet to look at")
      .option("--content <path...>", "images to repaint (default: drawn tissue)")
      .option("--style <path...>", "images whose appearance to take (default: drawn tissue of five hospitals)")
      .option("--out <folder>", "where results go", "demo")
      .option("--model <name>", "a published name, a folder, a .safetensors file, or demo", "demo")
      .option("--seed <n>", "of the drawn tissue", wholeNumber, 1),
  ).action(demo);
}
