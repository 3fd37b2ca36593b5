import { writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { decodeImage } from "../../src/image/decode.js";
import { Slide } from "../../src/image/slide.js";
import { mulberry32 } from "../../src/random.js";
import { gradient, noise, raw, temporaryFolder } from "./helpers.js";
import { svsOf } from "./svs.js";

/** Files that are spoiled; FUZZ_RUNS=10000 for more. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 3000);
const folder = temporaryFolder();

async function sources(): Promise<Buffer[]> {
  const tiled = { tile: true, tileWidth: 64, tileHeight: 64 };
  const image = gradient(150, 110);
  return Promise.all([
    svsOf({ width: 200, height: 150, tile: 64 }),
    svsOf({ width: 130, height: 90, tile: 64, channels: 1, compression: "deflate" }),
    raw(image)
      .tiff({ ...tiled, compression: "lzw", bigtiff: true })
      .toBuffer(),
    raw(image)
      .tiff({ ...tiled, compression: "webp" })
      .toBuffer(),
    raw(image).tiff({ compression: "jpeg" }).toBuffer(),
    raw(image).jpeg().toBuffer(),
    raw(image).jpeg({ progressive: true, chromaSubsampling: "4:4:4" }).toBuffer(),
    raw(image).png().toBuffer(),
    raw(noise(40, 30, 1))
      .toColourspace("b-w")
      .png({ progressive: true })
      .toBuffer(),
  ]);
}

/** A few bytes changed, most of them where directories and headers are; or something cut off, taken out, or put in. */
function spoiled(bytes: Buffer, random: () => number): Buffer {
  const below = (limit: number) => Math.floor(limit * random());
  const kind = below(10);
  if (kind === 0) return bytes.subarray(0, below(bytes.length));
  const [at, length] = [below(bytes.length), 1 + below(64)];
  if (kind === 1) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
  if (kind === 2) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(bytes.length)), bytes.subarray(at)]);
  const copy = Buffer.from(bytes);
  const [first, size] = [[0, Math.max(0, bytes.length - 1200), 0][below(3)]!, below(2) === 0 ? 1200 : bytes.length];
  for (let k = 1 + below(8); k > 0; k--)
    copy[first + below(Math.min(size, bytes.length - first))] = [0, 255, 1, below(256)][below(4)]!;
  return copy;
}

it(`${RUNS} spoiled files are images, or errors that say so`, async () => {
  const all = await sources();
  const random = mulberry32(7);
  const file = path.join(folder, "spoiled.svs");
  const counts = { images: 0, errors: 0, slides: 0, slideErrors: 0 };
  const judge = (run: number, error: unknown) => {
    if (error instanceof StylizingError && error.code === "IMAGE") return;
    throw new Error(`run ${run}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
  };
  for (let run = 0; run < RUNS; run++) {
    const source = run % all.length;
    const bytes = spoiled(all[source]!, random);
    const channels = run % 2 === 0 ? 3 : 1;
    await decodeImage(bytes, { channels, maxPixels: 4e6 }).then(
      () => counts.images++,
      (error: unknown) => {
        judge(run, error);
        counts.errors++;
      },
    );
    if (source > 4) continue;
    writeFileSync(file, bytes);
    try {
      const slide = await Slide.find(file);
      const rows = await slide!.read({ channels });
      if (rows.width * rows.height > 4e6) await rows.rows(0, 1);
      else for (let top = 0; top < rows.height; top += 50) await rows.rows(top, Math.min(50, rows.height - top));
      counts.slides++;
    } catch (error) {
      judge(run, error);
      counts.slideErrors++;
    }
  }
  process.stdout.write(`${JSON.stringify(counts)}\n`);
  expect(counts.images).toBeGreaterThan(RUNS / 20);
  expect(counts.errors).toBeGreaterThan(RUNS / 20);
}, 1_800_000);
