import { cut } from "../../image/preprocess.js";
import type { PixelImage } from "../../image/types.js";
import { confusionSvg } from "../../labels/confusion.js";
import { classificationMetrics, confusionMatrix, predictions } from "../../labels/metrics.js";
import { confidentMistakes, type MistakesRow, mistakesSheet } from "../../labels/mistakes.js";
import { asFloats, unpadded } from "../../net/pixels.js";
import type { Judge, Judged } from "../task.js";
import type { VitConfig } from "./config.js";
import { vitLayout } from "./parameters.js";
import { softmax } from "./softmax.js";

/** Mistakes on a sheet. */
const SHOWN = 24;

/** Probabilities against labels: metrics, a confusion matrix, and the most confident mistakes to look at. */
export class ClassJudge implements Judge {
  readonly #config: VitConfig;
  readonly #count: number;
  readonly #truth: Uint32Array;
  /** [images, classes]. */
  readonly #probabilities: Float32Array;
  #done = 0;
  /** Images are those of the validation set, which outlives a judge. */
  #seen: Pick<Judged, "names" | "images" | "placements"> | undefined;

  /** @param count validation images in all */
  constructor(count: number, config: VitConfig) {
    this.#config = config;
    this.#count = count;
    this.#truth = new Uint32Array(count);
    this.#probabilities = new Float32Array(count * config.num_classes);
  }

  add({ names, images, labels, placements, from, count, outputs }: Judged): void {
    const { num_classes: classes } = this.#config;
    this.#seen = { names, images, placements };
    // In an array of its own: a part of a buffer need not begin at a whole number.
    const padded = asFloats(outputs.logits!.slice());
    const logits = unpadded(padded, vitLayout(this.#config).classes, classes);
    for (let i = 0; i < count; i++) {
      this.#truth[from + i] = labels![from + i]!;
      this.#probabilities.set(softmax(logits.subarray(i * classes, (i + 1) * classes)), (from + i) * classes);
    }
    this.#done += count;
  }

  metrics(): Record<string, number> {
    if (this.#done !== this.#count) throw new RangeError(`${this.#done} of ${this.#count} images were judged`);
    return { ...classificationMetrics(this.#truth, this.#probabilities, this.#config.num_classes) };
  }

  async figures({ title, footer }: { title: string; footer: string }) {
    const { num_classes: count, classes = [] } = this.#config;
    const names = Array.from({ length: count }, (_, index) => classes[index] ?? String(index));
    const matrix = confusionMatrix(this.#truth, predictions(this.#probabilities, count), count);
    const files = { "confusion.svg": confusionSvg(matrix, names, title) };
    const mistakes = confidentMistakes(this.#truth, this.#probabilities, count, SHOWN);
    if (mistakes.length === 0) return { files };
    const rows = mistakes.map(({ index, truth, predicted, probability }): MistakesRow => {
      const image = { name: this.#seen!.names[index]!, image: this.#image(index) };
      return { ...image, truth: names[truth]!, predicted: names[predicted]!, probability };
    });
    return { sheet: await mistakesSheet(rows, { title, footer }), files };
  }

  /** Without the padding around it. */
  #image(index: number): PixelImage {
    const { image_size: size, in_channels } = this.#config;
    const each = size * size * in_channels;
    const { images, placements } = this.#seen!;
    const data = images.subarray(index * each, (index + 1) * each);
    return cut({ data, width: size, height: size, channels: in_channels as 1 | 3 }, placements[index]!);
  }
}
