import type { Gpu } from "../src/gpu/gpu.js";
import { Tuner } from "../src/gpu/tuner.js";
import { ALL_OPS } from "../test/ops/all.js";
import { isFloat16, numbersIn } from "../test/support/elements.js";
import type { Op, OpCase, Output, Setup } from "../test/support/op.js";
import { inside } from "../test/support/run-op.js";
import { bindTuned, bytesMoved } from "./bind.js";
import { type Bound, type Clock, type Effort, runOnce, timeDispatch } from "./device-clock.js";
import type { OpName } from "./options.js";
import { type Peak, peakFlops } from "./peak.js";
import { duration, number, percent, type Report } from "./report.js";
import { relativeError, type Summary, summarize } from "./statistics.js";

export interface OpRow {
  op: OpName;
  case: string;
  model?: string;
  batch: number;
  shape: string;
  tier: string;
  kernel: string;
  grid: readonly number[];
  /** Of 64 sampled numbers of a result, of the largest of them; of the result that is off by most of what it may be. */
  error: number;
  milliseconds: Summary;
  gflops?: number;
  gigabytes: number;
  flops: number;
  bytes: number;
  /** Share of what the roofline of the measured peaks allows, and which side of it is the lower one. */
  ofPeak: number;
  bound: "arithmetic" | "memory";
}

const SAMPLES = 64;
/** Allowed errors, of the largest value: bytes may be rounded to the next one. */
const BOUNDS = { f32: 2e-5, f16: 5e-3, bytes: 1.01 / 255 } as const;

const boundOf = ({ kind }: Output, { profile }: Gpu): number =>
  kind === "bytes" ? BOUNDS.bytes : isFloat16(profile, kind) ? BOUNDS.f16 : BOUNDS.f32;

/** Compares sampled numbers of every result, the first and the last among them, with float64. */
export async function check(bound: Bound, setup: Setup): Promise<{ error: number; allowed: number }> {
  const { gpu } = bound;
  const contents = await runOnce(bound);
  const numbers = setup.outputs.map(({ kind, region }, at) => {
    const words = inside(new Uint32Array(contents[at]!), region);
    return kind === "bytes"
      ? new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
      : numbersIn(gpu.profile, words, kind);
  });
  let worst = { error: 0, allowed: boundOf(setup.outputs[0]!, gpu) };
  for (const { of = 0, size, value, expected } of setup.results) {
    if (size === 0) continue;
    const places = Array.from({ length: Math.min(size, SAMPLES) }, () => Math.floor(Math.random() * size));
    places[0] = 0;
    places[places.length - 1] = size - 1;
    const actual = places.map((at) => (value ? value(numbers[of]!, at) : numbers[of]![at]!));
    const error = relativeError(actual, places.map(expected));
    const allowed = boundOf(setup.outputs[of]!, gpu);
    if (!(error / allowed <= worst.error / worst.allowed)) worst = { error, allowed };
  }
  return worst;
}

/** The sizes that models run, in the order of ops. */
const CASES = ALL_OPS.flatMap((op) =>
  op.cases.flatMap((one) => (one.bench ? [{ op, one, ...one.bench, what: one.name.replace(/^[^:]*: /, "") }] : [])),
) satisfies { op: Op; one: OpCase }[];

export interface OpRequest {
  ops: readonly OpName[];
  models: readonly string[];
  batches: readonly number[];
  clock: Clock;
  effort: Effort;
  peak: Peak;
}

export async function benchOps(gpu: Gpu, request: OpRequest, report: Report): Promise<void> {
  const { tier } = gpu.profile;
  const clock = request.clock === "device" ? "timestamps of the device" : "host's clock over ten dispatches";
  const rows = report.section<OpRow>("ops", `Kernels, ${tier} (${clock}; each checked in ${SAMPLES} places first)`);
  const chosen = CASES.filter(
    ({ op, model, batch }) =>
      request.ops.includes(op.name) && request.batches.includes(batch) && (model === undefined || request.models.includes(model)),
  );
  if (chosen.length === 0) {
    report.line(
      `none: the case table has batches 1, 8 and 64 of tiny, small and base, and ${request.models.join(", ")} at batch ${request.batches.join(", ")} was asked for`,
    );
    return;
  }
  report.table(["kernel", 54], ["shape", 36], ["median", 9], ["p10", 9], ["p90", 9], ["GFLOP/s", 8], ["GB/s", 7], ["of peak", 9]);
  const tuner = new Tuner(gpu, "auto");
  for (const { op, one, model, batch, what } of chosen) {
    const title = `${model ? `${op.name} · ${model}` : op.name} ×${batch} · ${what}`;
    const setup = op.setup(one, gpu.profile);
    let bound: Bound | undefined;
    try {
      bound = await bindTuned(gpu, setup, tuner);
      const { error, allowed } = await check(bound, setup);
      if (!(error <= allowed)) {
        report.fail(title, `off by ${error.toExponential(1)} of the largest value, ${allowed} allowed`);
        continue;
      }
      const milliseconds = summarize(await timeDispatch(bound, request.clock, request.effort));
      const seconds = milliseconds.median / 1000;
      const arithmetic = setup.flops / (peakFlops(request.peak) * 1e9);
      const bytes = bytesMoved(setup);
      const memory = bytes / (request.peak.copy * 1e9);
      const row: OpRow = {
        op: op.name,
        case: what,
        ...(model ? { model } : {}),
        batch,
        shape: setup.shape,
        tier,
        kernel: bound.pipeline.label,
        grid: bound.plan.workgroups,
        error,
        milliseconds,
        ...(setup.flops > 0 ? { gflops: setup.flops / seconds / 1e9 } : {}),
        gigabytes: bytes / seconds / 1e9,
        flops: setup.flops,
        bytes,
        ofPeak: Math.max(arithmetic, memory) / seconds,
        bound: arithmetic > memory ? "arithmetic" : "memory",
      };
      rows.push(row);
      report.row(
        title,
        setup.shape,
        duration(milliseconds.median),
        duration(milliseconds.p10),
        duration(milliseconds.p90),
        row.gflops === undefined ? "" : number(row.gflops),
        number(row.gigabytes),
        `${percent(row.ofPeak)} ${row.bound === "arithmetic" ? "a" : "m"}`,
      );
    } catch (error) {
      report.fail(title, error instanceof Error ? error.message : String(error));
    } finally {
      bound?.dispose();
    }
  }
  report.line(
    "of peak: the time that the measured peak of (a)rithmetic or (m)emory allows, whichever is longer, over the median",
  );
}
