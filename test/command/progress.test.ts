import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { clock, note, Progress, stopProgress } from "../../src/command/progress.js";
import { Display } from "../../src/command/train.js";

let printed: string;
const terminal = process.stderr.isTTY;
beforeEach(() => {
  printed = "";
  vi.useFakeTimers();
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});
afterEach(() => {
  stopProgress();
  process.stderr.isTTY = terminal;
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("without a terminal", () => {
  beforeEach(() => {
    process.stderr.isTTY = false;
  });

  it("a line a minute says how much is done and how long it will take, and the last is behind the end", () => {
    const progress = new Progress("painting", 600, "images");
    vi.advanceTimersByTime(59_000);
    expect(printed).toBe("");
    progress.update(0);
    vi.advanceTimersByTime(1_000);
    expect(printed).toBe("painting: 0 of 600 images\n");
    progress.update(120);
    vi.advanceTimersByTime(59_000);
    progress.update(240);
    vi.advanceTimersByTime(1_000);
    expect(printed.split("\n")[1]).toBe("painting: 240 of 600 images, 2.0 images/s, 3 min left");
    progress.stop();
    vi.advanceTimersByTime(600_000);
    expect(printed.trimEnd().split("\n")).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("megabytes are counted of a download, and a failure ends what was running", () => {
    new Progress("download", 300e6, "bytes").update(75e6);
    vi.advanceTimersByTime(60_000);
    expect(printed).toBe("download: 75 of 300 MB, 1.3 MB/s, 3 min left\n");
    stopProgress();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("a training epoch says its steps, losses and the time left until the last epoch's end", () => {
    const display = new Display();
    const step = { kind: "step", epoch: 3, epochs: 50, step: 10, steps: 200, learningRate: 1e-3, gradientNorm: 1 } as const;
    const losses = { identity: 0.25, total: 0.5 } as never;
    display.train({ ...step, losses, imagesPerSecond: 21.34, secondsLeft: 7300 }, 64, () => "");
    vi.advanceTimersByTime(60_000);
    expect(printed).toBe("epoch 3/50: 640 of 12800 images, 21.3 images/s, step 10 of 200, 2 h 1 min left | loss 0.500\n");
    display.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});

it("with a terminal there is a bar and no line, and notices do not stand in it", () => {
  process.stderr.isTTY = true;
  const progress = new Progress("painting", 600, "images");
  progress.update(240);
  vi.advanceTimersByTime(600_000);
  expect(printed).not.toContain("painting: ");
  printed = "";
  note("one failed");
  expect(printed).toBe("\r\u001b[Kone failed\n");
  progress.stop();
  printed = "";
  note("done");
  expect(printed).toBe("done\n");
});

it("times are said in the units that matter", () => {
  expect([0, 0.2, 59, 60, 3599, 3600, 90_000].map(clock)).toEqual([
    "0 s",
    "1 s",
    "59 s",
    "1 min",
    "59 min",
    "1 h 0 min",
    "25 h 0 min",
  ]);
});
