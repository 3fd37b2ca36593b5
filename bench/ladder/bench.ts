import { messageOf } from "../../src/errors.js";
import type { Gpu } from "../../src/gpu/gpu.js";
import { dimensions, presetConfig } from "../../src/models/stylizing-vit/config.js";
import { type Bound, type Effort, timeDispatch } from "../device-clock.js";
import { measurePeak, peakFlops } from "../peak.js";
import { number, percent, type Report } from "../report.js";
import { median, relativeError, type Summary, summarize } from "../statistics.js";
import { ATTENTION_STEPS, type AttentionSize, LINEAR_STEPS, type LinearSize, type Step } from "./ladder.js";
import { attentionProblem, BOUNDS, linearProblem, type Problem, resultOf } from "./problem.js";

export type LadderOp = "linear" | "attention";
type LadderModel = "tiny" | "small" | "base";

export interface LadderRow {
  op: LadderOp;
  step: string;
  file: string;
  shape: string;
  storage: "f32" | "float16";
  lesson: string;
  /** Why it was not run. */
  skipped?: string;
  /** Of the largest of the sampled values. */
  error?: number;
  milliseconds?: Summary;
  gflops?: number;
  /** How many times as fast as the first step, and as the last one before it that ran: medians of ratios within a round. */
  timesFirst?: number;
  timesBefore?: number;
  /** Share of the arithmetic that was measured as the device's peak. */
  ofPeak?: number;
}

export interface LadderRequest {
  ops: readonly LadderOp[];
  models: readonly string[] | undefined;
  batches: readonly number[] | undefined;
  effort: Effort;
  peakEffort: Effort;
}

const SAMPLES = 64;
const ROUNDS = 3;

/**
 * Sizes that a ladder is climbed at. A GPU gets the MLP's first GEMM over the three streams of a pass and the attention
 * of one; a CPU the smaller query-key-value GEMM and attention of all three.
 */
function sizes(model: LadderModel, batch: number, software: boolean): { linear: LinearSize; attention: AttentionSize } {
  const config = presetConfig(model);
  const { tokens } = dimensions(config);
  const width = config.embed_dim;
  return {
    linear: { rows: 3 * batch * tokens, depth: width, cols: software ? 3 * width : 4 * width },
    attention: { sequences: software ? 3 * batch : batch, tokens, heads: config.num_heads },
  };
}

/** Why a step cannot run here; undefined where it can. */
function obstacle<Size>(step: Step<Size>, size: Size, gpu: Gpu): string | undefined {
  if (step.needs.includes("subgroups") && !gpu.profile.subgroups) return "the adapter has no subgroups";
  if (step.needs.includes("matrix") && gpu.profile.matrix !== "units")
    return gpu.profile.notes.find((note) => note.startsWith("no matrix")) ?? "no matrix units";
  return step.refuses(size);
}

async function check<Size>(problem: Problem<Size>, step: Step<Size>, bound: Bound): Promise<number> {
  const result = await resultOf(problem, step, bound);
  const places = Array.from({ length: SAMPLES }, () => Math.floor(Math.random() * problem.count));
  places[0] = 0;
  places[1] = problem.count - 1;
  return relativeError(
    places.map((at) => result[at]!),
    places.map((at) => problem.expected(at)),
  );
}

/** Checks every step, times in turns those that are right, and reports all. */
export async function climb<Size>(
  op: LadderOp,
  steps: readonly Step<Size>[],
  problem: Problem<Size>,
  gpu: Gpu,
  peak: number,
  effort: Effort,
  report: Report,
): Promise<void> {
  const clock = gpu.profile.timestamps ? "device" : "wall";
  const counted = clock === "device" ? "timestamps of the device" : "host's clock over ten dispatches";
  const rows = report.section<LadderRow>(
    "ladder",
    `Ladder of ${op}, ${problem.shape} (${counted}; each checked in ${SAMPLES} places first)`,
  );
  let climbed: { row: LadderRow; bound: Bound; rounds: number[][] }[] = [];
  const own: LadderRow[] = [];
  for (const step of steps) {
    const { name, file, storage, lesson } = step;
    const row: LadderRow = { op, step: name, file, shape: problem.shape, storage, lesson };
    own.push(row);
    const reason = obstacle(step, problem.size, gpu);
    if (reason) {
      row.skipped = reason;
      continue;
    }
    try {
      const bound = await problem.bind(step);
      row.error = await check(problem, step, bound);
      if (row.error <= BOUNDS[storage]) climbed.push({ row, bound, rounds: [] });
      else report.fail(`${op} ${name}`, `off by ${row.error.toExponential(1)} of the largest value, ${BOUNDS[storage]} allowed`);
    } catch (error) {
      report.fail(`${op} ${name}`, messageOf(error));
    }
  }

  // In turns, so that what slows the machine for a while slows every step. A naive kernel takes a CPU a second, and every
  // round has its warm-up.
  const fewest = gpu.profile.software ? 1 : Math.ceil(effort.fewest / ROUNDS);
  const each: Effort = { budget: effort.budget / ROUNDS, fewest, most: effort.most };
  for (let round = 0; round < ROUNDS; round++) {
    for (const { row, bound, rounds } of climbed) {
      try {
        rounds.push(await timeDispatch(bound, clock, each));
      } catch (error) {
        report.fail(`${op} ${row.step}`, messageOf(error));
      }
    }
    climbed = climbed.filter(({ rounds }) => rounds.length === round + 1);
  }
  const ratio = (of: number[][], to: number[][]) => median(of.map((samples, round) => median(samples) / median(to[round]!)));
  for (const [index, { row, rounds }] of climbed.entries()) {
    row.milliseconds = summarize(rounds.flat());
    row.gflops = problem.flops / row.milliseconds.median / 1e6;
    row.timesFirst = ratio(climbed[0]!.rounds, rounds);
    if (index > 0) row.timesBefore = ratio(climbed[index - 1]!.rounds, rounds);
    row.ofPeak = row.gflops / peak;
  }

  report.table(["step", 24], ["ms", 9], ["GFLOP/s", 8], ["× first", 8], ["× before", 8], ["of peak", 8], ["lesson", 0]);
  const cell = (value: number | undefined) => (value === undefined ? "" : number(value));
  for (const row of own) {
    rows.push(row);
    const share = row.ofPeak === undefined ? "" : percent(row.ofPeak);
    const last = row.skipped ? `not run: ${row.skipped}` : row.milliseconds ? row.lesson : "failed";
    report.row(
      row.step,
      cell(row.milliseconds?.median),
      cell(row.gflops),
      cell(row.timesFirst),
      cell(row.timesBefore),
      share,
      last,
    );
  }
}

/** Climbs the ladders: every step compiled, checked against float64, then timed in turns. */
export async function benchLadder(gpu: Gpu, request: LadderRequest, report: Report, root: string): Promise<void> {
  const { software, timestamps } = gpu.profile;
  const peak = peakFlops(await measurePeak(gpu, timestamps ? "device" : "wall", request.peakEffort));
  for (const model of request.models ?? [software ? "tiny" : "base"]) {
    if (model === "demo") {
      report.line("\nladder: the demo model has no heads of 64; choose tiny, small or base");
      continue;
    }
    for (const batch of request.batches ?? [software ? 1 : 64]) {
      const size = sizes(model as LadderModel, batch, software);
      if (request.ops.includes("linear")) {
        const problem = linearProblem(gpu, root, size.linear);
        await climb("linear", LINEAR_STEPS, problem, gpu, peak, request.effort, report).finally(problem.dispose);
      }
      if (request.ops.includes("attention")) {
        const problem = attentionProblem(gpu, root, size.attention);
        await climb("attention", ATTENTION_STEPS, problem, gpu, peak, request.effort, report).finally(problem.dispose);
      }
    }
  }
  report.line(`of peak: of the ${number(peak)} GFLOP/s measured just before`);
}
