import type { Classification } from "../classifier/types.js";
import { enlarged, heatMap } from "../image/heat-map.js";
import { cut, type FittedImage } from "../image/preprocess.js";
import { captionedSheet } from "../image/sheet.js";
import type { PixelImage } from "../image/types.js";
import { percent } from "../labels/percent.js";

/** Tiles are at least so large, in pixels, and at most so. */
const SMALLEST = 192;
const LARGEST = 512;

/**
 * An image and beside it, head after head, what the CLS token of the last block looks at: the bytes of a PNG. Every patch is a
 * square of one colour. Padding is cut off.
 * @param image as the model took it
 * @param result with `attention`
 */
export function attentionSheet(image: FittedImage, result: Classification, name: string, model: string): Promise<Uint8Array> {
  const { data, shape } = result.attention!;
  const [heads, rows, columns] = shape;
  const each = rows * columns;
  const factor = Math.max(1, Math.ceil(SMALLEST / image.width));
  const shown = (whole: PixelImage) => enlarged(cut(whole, image.placement), factor);
  const maps = Array.from({ length: heads }, (_, head) => {
    const values = data.subarray(head * each, (head + 1) * each);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    return {
      source: { name: `head ${head + 1}`, image: shown(heatMap(image, values, rows, columns)) },
      lines: [`one patch up to ${percent(most)}`],
    };
  });
  const legend =
    "What the CLS token of the last block looks at, by head. The brightest patch of a head has the share of its attention that is written below.";
  // A few beside the image; more of them in rows of about the same length.
  const tiles = heads + 1;
  const maxColumns = Math.ceil(tiles / Math.ceil(tiles / 5));
  return captionedSheet(
    [{ source: { name: "image", image: shown(image) }, lines: [`${result.label}: ${percent(result.probability)}`] }, ...maps],
    {
      title: name,
      footer: `${legend} Model: ${model}.`,
      tile: Math.min(LARGEST, image.width * factor),
      maxRows: 100,
      maxColumns,
    },
  );
}
