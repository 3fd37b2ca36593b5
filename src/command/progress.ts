import cliProgress from "cli-progress";

const UNITS = { images: 1, layers: 1, bytes: 1e6 };

const running = new Set<Progress>();

/** Ends what a failure left running: a living bar redraws for ever, and the process would not exit. */
export function stopProgress(): void {
  for (const progress of running) progress.stop();
}

/** A bar on stderr with rate and time left; nothing where stderr is no terminal, so that logs stay readable. */
export class Progress {
  readonly #bar: cliProgress.SingleBar;
  readonly #scale: number;
  readonly #unit: string;
  readonly #start = performance.now();
  #stopped = false;

  constructor(what: string, total: number, unit: keyof typeof UNITS) {
    this.#scale = UNITS[unit];
    this.#unit = unit === "bytes" ? "MB" : unit;
    this.#bar = new cliProgress.SingleBar(
      {
        format: `${what} {bar} {value}/{total} ${this.#unit} | {rate} ${this.#unit}/s | {eta_formatted} left`,
        stream: process.stderr,
        clearOnComplete: true,
        hideCursor: true,
        fps: 5,
      },
      cliProgress.Presets.shades_classic,
    );
    this.#bar.start(Math.round(total / this.#scale), 0, { rate: "-" });
    running.add(this);
  }

  update(value: number): void {
    const seconds = (performance.now() - this.#start) / 1000;
    const scaled = value / this.#scale;
    this.#bar.update(Math.round(scaled), { rate: seconds > 0 ? (scaled / seconds).toFixed(1) : "-" });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    running.delete(this);
    this.#bar.stop();
  }
}
