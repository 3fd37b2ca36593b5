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

  /** @param detail whether `update` is given words to show behind the bar, time left among them. */
  constructor(what: string, total: number, unit: keyof typeof UNITS, { detail = false } = {}) {
    this.#scale = UNITS[unit];
    this.#unit = unit === "bytes" ? "MB" : unit;
    this.#bar = new cliProgress.SingleBar(
      {
        format: `${what} {bar} {value}/{total} ${this.#unit} | {rate} ${this.#unit}/s | ${detail ? "{detail}" : "{eta_formatted} left"}`,
        stream: process.stderr,
        clearOnComplete: true,
        hideCursor: true,
        fps: 5,
      },
      cliProgress.Presets.shades_classic,
    );
    this.#bar.start(Math.round(total / this.#scale), 0, { rate: "-", detail: "" });
    running.add(this);
  }

  /** @param rate a second, where it is known better than from what was done since the bar began. */
  update(value: number, detail = "", rate?: number): void {
    const seconds = (performance.now() - this.#start) / 1000;
    const scaled = value / this.#scale;
    const shown = rate ?? (seconds > 0 ? scaled / seconds : undefined);
    this.#bar.update(Math.round(scaled), { rate: shown?.toFixed(1) ?? "-", detail });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    running.delete(this);
    this.#bar.stop();
  }
}
