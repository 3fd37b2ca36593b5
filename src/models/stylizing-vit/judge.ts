import { colourDistance, psnr, ssim } from "../../image/metrics.js";
import { cut } from "../../image/preprocess.js";
import { contactSheet, type SheetRow } from "../../image/sheet.js";
import type { PixelImage } from "../../image/types.js";
import type { Judge, Judged } from "../task.js";

/** Images whose reconstructions and results are measured: the rest would only take time. */
const MEASURED = 128;
const SHEET_PAIRS = 6;

/** Reconstructions against their contents, results' colours against their styles', and pairs to look at. */
export class PairJudge implements Judge {
  readonly #measured: number;
  readonly #shown: ReadonlySet<number>;
  readonly #sums = { psnr: 0, ssim: 0, colour: 0 };
  readonly #rows: SheetRow[] = [];

  /** @param count validation images in all */
  constructor(count: number) {
    this.#measured = Math.min(MEASURED, count);
    const pairs = Math.min(SHEET_PAIRS, count);
    this.#shown = new Set(Array.from({ length: pairs }, (_, i) => Math.floor((i * count) / pairs)));
  }

  add({ config, names, images, placements, from, count, outputs }: Judged): void {
    const { image_size: size, in_channels } = config;
    const each = size * size * in_channels;
    const { stylized, reconstruction } = outputs as { stylized: Uint8Array; reconstruction: Uint8Array };
    for (let i = 0; i < count; i++) {
      const index = from + i;
      const style = from + ((i + 1) % count);
      // Without the padding, which no result is about.
      const image = (data: Uint8Array, at: number, of: number): PixelImage => {
        const whole = data.subarray(at * each, (at + 1) * each);
        return cut({ data: whole, width: size, height: size, channels: in_channels as 1 | 3 }, placements[of]!);
      };
      const content = image(images, index, index);
      const [result, again] = [image(stylized, i, index), image(reconstruction, i, index)];
      const target = image(images, style, style);
      if (index < this.#measured) {
        this.#sums.psnr += Math.min(psnr(content, again), 100) / this.#measured;
        this.#sums.ssim += ssim(content, again) / this.#measured;
        this.#sums.colour += colourDistance(result, target) / this.#measured;
      }
      if (!this.#shown.has(index)) continue;
      this.#rows.push({
        content: { name: names[index]!, image: content },
        style: { name: names[style]!, image: target },
        result: { name: "", image: result },
        reconstruction: { name: "", image: again },
      });
    }
  }

  metrics(): Record<string, number> {
    return { ...this.#sums };
  }

  async figures({ title, footer }: { title: string; footer: string }) {
    return { sheet: await contactSheet(this.#rows, { layout: "pairs", title, footer }), files: {} };
  }
}
