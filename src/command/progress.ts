import cliProgress from "cli-progress";

const UNITS = { images: 1, samples: 1, layers: 1, rows: 1, bytes: 1e6 };
/** Between lines where stderr is no terminal, in milliseconds. */
const MINUTE = 60_000;

const running = new Set<Progress>();

/** Ends what a failure left running: a living bar redraws for ever, and the process would not exit. */
export function stopProgress(): void {
  for (const progress of running) progress.stop();
}

/** A line on stderr, above the bar where there is one. */
export function note(text: string): void {
  process.stderr.write(`${running.size > 0 && process.stderr.isTTY ? "\r\u001b[K" : ""}${text}\n`);
}

/** A time for people. */
export function clock(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.ceil(seconds)} s`;
}

/** How far something is, on stderr, with rate and time left: a bar, or a line a minute where stderr is no terminal. */
export class Progress {
  readonly #what: string;
  readonly #total: number;
  readonly #scale: number;
  readonly #unit: string;
  readonly #start = performance.now();
  #bar: cliProgress.SingleBar | undefined;
  #timer: NodeJS.Timeout | undefined;
  #value = 0;
  #detail = "";
  #rate: number | undefined;
  #stopped = false;

  /** @param detail whether `update` is given words to show behind the bar, time left among them. */
  constructor(what: string, total: number, unit: keyof typeof UNITS, { detail = false } = {}) {
    this.#what = what;
    this.#scale = UNITS[unit];
    this.#unit = unit === "bytes" ? "MB" : unit;
    this.#total = Math.round(total / this.#scale);
    if (process.stderr.isTTY) this.#bar = this.#draw(detail);
    else this.#timer = setInterval(() => note(this.#line()), MINUTE).unref();
    running.add(this);
  }

  #draw(detail: boolean): cliProgress.SingleBar {
    const bar = new cliProgress.SingleBar(
      {
        format: `${this.#what} {bar} {value}/{total} ${this.#unit} | {rate} ${this.#unit}/s | ${detail ? "{detail}" : "{eta_formatted} left"}`,
        stream: process.stderr,
        clearOnComplete: true,
        hideCursor: true,
        fps: 5,
      },
      cliProgress.Presets.shades_classic,
    );
    bar.start(this.#total, 0, { rate: "-", detail: "" });
    return bar;
  }

  #line(): string {
    const rate = this.#perSecond();
    const left = rate ? `${clock((this.#total - this.#value) / rate)} left` : "";
    const speed = rate ? `${rate.toFixed(1)} ${this.#unit}/s` : "";
    const counts = `${Math.round(this.#value)} of ${this.#total} ${this.#unit}`;
    return `${this.#what}: ${[counts, speed, this.#detail || left].filter(Boolean).join(", ")}`;
  }

  /** What was done a second, where that is known. */
  #perSecond(): number | undefined {
    const seconds = (performance.now() - this.#start) / 1000;
    return this.#rate ?? (seconds > 0 ? this.#value / seconds : undefined);
  }

  /** @param rate a second, where it is known better than from what was done since the beginning. */
  update(value: number, detail = "", rate?: number): void {
    this.#value = value / this.#scale;
    this.#detail = detail;
    this.#rate = rate;
    this.#bar?.update(Math.round(this.#value), { rate: this.#perSecond()?.toFixed(1) ?? "-", detail });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    running.delete(this);
    clearInterval(this.#timer);
    this.#bar?.stop();
  }
}
