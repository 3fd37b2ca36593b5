import type { Batch } from "../models/batch.js";
import { inPieces } from "../models/pieces.js";
import type { KeptContent, Mode } from "../models/stylizing-vit/modes.js";
import type { RunTiming } from "../net/run.js";
import type { Engine, Job } from "./engine.js";
import { gather, type Pair } from "./pairing.js";
import { BATCHES_UNDER_WAY } from "./stream.js";
import { type BankOwner, StyleBank } from "./style-bank.js";
import type { LoadOptions, StylizeOptions } from "./types.js";

/** Where the results of a submission go, and what else is to be done with them. */
export type Delivery = Pick<Job, "into" | "target" | "detail"> & {
  /** Gets what the job gave, once it is there. */
  take?: (bytes: Uint8Array) => void;
};

/** Cuts work into submissions that fit a device, whichever it is. */
export class Batches {
  readonly #options: Pick<LoadOptions, "batchSize" | "onNote">;
  readonly #owner: BankOwner;
  /** The largest batch of a mode that was found to fit the device's memory, where a larger one did not. */
  readonly #fits = new Map<Mode, number>();

  constructor(options: Pick<LoadOptions, "batchSize" | "onNote">, owner: BankOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** Images that one submission of a mode holds. */
  largest(engine: Engine, mode: Mode): number {
    return Math.min(engine.largestBatch(mode, this.#options.batchSize), this.#fits.get(mode) ?? Number.POSITIVE_INFINITY);
  }

  /** Runs [0, count) in pieces that fit the device; a piece that does not fit its memory is halved. */
  inBatches(
    engine: Engine,
    mode: Mode,
    count: number,
    { signal, onProgress, most = Number.POSITIVE_INFINITY }: StylizeOptions & { most?: number },
    run: (from: number, images: number) => Promise<void>,
  ): Promise<void> {
    const onSmaller = (size: number, tooLarge: number) => {
      if (size >= this.largest(engine, mode)) return;
      this.#fits.set(mode, size);
      this.#options.onNote?.(`a batch of ${tooLarge} does not fit the device's memory: going on with ${size}`);
    };
    const options = {
      size: Math.min(most, this.largest(engine, mode)),
      underWay: BATCHES_UNDER_WAY - 1,
      signal,
      onProgress,
      onSmaller,
    };
    return inPieces(count, options, run);
  }

  /**
   * Paints pairs by the cheapest programs: pairs at once, a bank of styles, or one content kept for many styles.
   * @param options.most images of a submission, where something else than the model limits them.
   * @param deliver is asked before every submission; `shared` where its images have one content, the first.
   */
  async paint(
    engine: Engine,
    contents: Batch,
    styles: Batch | StyleBank,
    pairs: readonly Pair[],
    options: StylizeOptions & { timing?: RunTiming | undefined; most?: number },
    deliver: (from: number, images: number, shared: boolean) => Delivery,
  ): Promise<void> {
    const format = contents.format;
    const finish = async (from: number, job: Job) => {
      const { take, ...delivery } = deliver(from, job.images, job.mode === "restyle");
      // The content is not among what a kept one's program needs, and guided detail takes it.
      const seen = job.mode === "restyle" && delivery.detail ? { content: contents.pixels(0, 1) } : {};
      const bytes = await engine.run({ ...job, ...delivery, ...seen }, options.timing);
      take?.(bytes);
    };
    const shared = !(styles instanceof StyleBank) && pairs.length > 1 && (contents.count === 1 || styles.count === 1);
    if (!(styles instanceof StyleBank) && !shared) {
      const one = (batch: Batch, index: (pair: Pair) => number, from: number, images: number) =>
        batch.count === pairs.length ? batch.pixels(from, images) : gather(batch, pairs.slice(from, from + images).map(index));
      return this.inBatches(engine, "pair", pairs.length, options, (from, images) =>
        finish(from, {
          mode: "pair",
          images,
          input: format,
          output: format,
          content: one(contents, (pair) => pair.content, from, images),
          style: one(styles, (pair) => pair.style, from, images),
        }),
      );
    }

    const bank = styles instanceof StyleBank ? styles : new StyleBank(this.#owner, styles);
    try {
      const pages = await bank.pages(engine, this.#owner, options.signal);
      const capacity = engine.pageCapacity;
      let kept: KeptContent | undefined;
      try {
        if (contents.count === 1 && pairs.length > 1) {
          kept = engine.takeKept();
          const job = {
            mode: "content",
            images: 1,
            input: format,
            output: "none",
            content: contents.pixels(0, 1),
            kept,
          } as const;
          await engine.run(job, options.timing);
        }
        // One submission reads one page: pairs are cut where their page changes.
        for (let start = 0; start < pairs.length; ) {
          const number = Math.floor(pairs[start]!.style / capacity);
          let end = start + 1;
          while (end < pairs.length && Math.floor(pairs[end]!.style / capacity) === number) end++;
          const page = pages[number]!;
          const first = start;
          const mode = kept ? "restyle" : "banked";
          await this.inBatches(engine, mode, end - start, options, (from, images) => {
            const chosen = pairs.slice(first + from, first + from + images);
            const list = chosen.map((pair) => pair.style - number * capacity);
            const common = { images, input: format, output: format, page, styles: list } as const;
            if (kept) return finish(first + from, { mode: "restyle", ...common, kept });
            const numbers = chosen.map((pair) => pair.content);
            const content = contents.count === pairs.length ? contents.pixels(first + from, images) : gather(contents, numbers);
            return finish(first + from, { mode: "banked", ...common, content });
          });
          start = end;
        }
      } finally {
        if (kept) engine.returnKept(kept);
      }
    } finally {
      if (bank !== styles) bank.dispose();
    }
  }
}
