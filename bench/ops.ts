import type { Gpu } from "../src/gpu/gpu.js";
import { float16BitsToFloat32 } from "../src/hub/half.js";
import { type Bound, type Clock, type Effort, runOnce, timeDispatch } from "./device-clock.js";
import { bindTuned, OP_CASES, type OpSetup } from "./op-setups.js";
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
  /** Of 64 sampled results, of the largest of them. */
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
export const BOUNDS = { f32: 2e-5, f16: 5e-3, bytes: 1.01 / 255 } as const;

/** Compares sampled results, the first and the last among them, with float64. */
export async function check(bound: Bound, setup: OpSetup): Promise<number> {
  const bytes = await runOnce(bound);
  const results =
    setup.resultType === "f32"
      ? new Float32Array(bytes)
      : setup.resultType === "bytes"
        ? new Uint8Array(bytes)
        : float16BitsToFloat32(new Uint16Array(bytes));
  const places = Array.from({ length: SAMPLES }, () => Math.floor(Math.random() * setup.size));
  places[0] = 0;
  places[1] = setup.size - 1;
  return relativeError(
    places.map((at) => results[at]!),
    places.map((at) => setup.expected(at)),
  );
}

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
  const chosen = OP_CASES.filter(
    ({ op, model, batch }) =>
      request.ops.includes(op) && request.batches.includes(batch) && (model === undefined || request.models.includes(model)),
  );
  if (chosen.length === 0) {
    report.line(
      `none: the case table has batches 1, 8 and 64 of tiny, small and base, and ${request.models.join(", ")} at batch ${request.batches.join(", ")} was asked for`,
    );
    return;
  }
  report.table(["kernel", 42], ["shape", 28], ["median", 9], ["p10", 9], ["p90", 9], ["GFLOP/s", 8], ["GB/s", 7], ["of peak", 9]);
  for (const one of chosen) {
    const title = [one.model ? `${one.op} · ${one.model} ×${one.batch}` : `${one.op} ×${one.batch}`, one.name]
      .filter(Boolean)
      .join(" · ");
    const setup = one.setUp(gpu.profile);
    let bound: Bound | undefined;
    try {
      bound = await bindTuned(gpu, setup);
      const error = await check(bound, setup);
      if (!(error <= BOUNDS[setup.resultType])) {
        report.fail(title, `off by ${error.toExponential(1)} of the largest value, ${BOUNDS[setup.resultType]} allowed`);
        continue;
      }
      const milliseconds = summarize(await timeDispatch(bound, request.clock, request.effort));
      const seconds = milliseconds.median / 1000;
      const arithmetic = setup.flops / (peakFlops(request.peak) * 1e9);
      const memory = setup.bytes / (request.peak.copy * 1e9);
      const row: OpRow = {
        op: one.op,
        case: one.name,
        ...(one.model ? { model: one.model } : {}),
        batch: one.batch,
        shape: setup.shape,
        tier,
        kernel: bound.pipeline.label,
        grid: bound.plan.workgroups,
        error,
        milliseconds,
        ...(setup.flops > 0 ? { gflops: setup.flops / seconds / 1e9 } : {}),
        gigabytes: setup.bytes / seconds / 1e9,
        flops: setup.flops,
        bytes: setup.bytes,
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
