import { type Candidate, DispatchBuilder, type Plan, type Schedule, type Word } from "../gpu/dispatch.js";
import type { Gpu } from "../gpu/gpu.js";
import {
  isAligned8,
  type LinearPlacement,
  type LinearShape,
  linearCandidates,
  linearFlops,
  linearKey,
  linearParameters,
} from "../ops/linear.js";

/** What a dispatch belongs to, for reports of where the time goes. */
export type Share = "vgg" | "products" | "attention" | "rest";

interface Step {
  candidates: readonly Candidate[];
  /** Op and shape, for the tuner; empty where there is one way only. */
  key: string;
  buffers: readonly GPUBuffer[];
  parameters: readonly Word[];
  share: Share;
  flops: number;
}

/** Dispatches ready to run, and what each of them is about. */
export interface BoundSteps {
  schedule: Schedule;
  shares: readonly Share[];
  /** Floating-point operations of the dispatches that are products; 0 for the others. */
  flops: readonly number[];
}

export interface LinearBuffers {
  input: GPUBuffer;
  weight: GPUBuffer;
  /** Without one the placement says `bias: false`. */
  bias?: GPUBuffer;
  /** Table, or activations that a derivative is taken at. */
  table?: GPUBuffer;
  output: GPUBuffer;
}

/** Rows of the smallest tile of a product: more tiles than one side of a grid holds are cut into bands. */
const SMALLEST_TILE = 16;

/** Collects the dispatches of a schedule; a share is set for those that follow. */
export class StepList {
  readonly gpu: Gpu;
  readonly #steps: Step[] = [];
  share: Share = "rest";

  constructor(gpu: Gpu) {
    this.gpu = gpu;
  }

  /** Adds an op that has one plan. */
  add(plan: Plan, buffers: readonly GPUBuffer[], parameters: readonly Word[]): void {
    this.#steps.push({ candidates: [{ name: "", plan }], key: "", buffers, parameters, share: this.share, flops: 0 });
  }

  /** Adds an op that a tuner may choose the kernel of. */
  choose(key: string, candidates: readonly Candidate[], buffers: readonly GPUBuffer[], parameters: readonly Word[]): void {
    this.#steps.push({ candidates, key, buffers, parameters, share: this.share, flops: 0 });
  }

  /** Adds a product, cut into bands of rows where it is too long for one dispatch. */
  linear(shape: Omit<LinearShape, "aligned8">, buffers: LinearBuffers, placement: LinearPlacement): void {
    const { profile, flopsPerDispatch } = this.gpu;
    const whole = buffers.bias ? placement : { ...placement, bias: false };
    const size = { ...shape, aligned8: isAligned8(whole) };
    const perRow = linearFlops({ ...size, rows: 1 });
    const tiles = Math.min(
      profile.limits.maxComputeWorkgroupsPerDimension,
      Math.floor(flopsPerDispatch / perRow / SMALLEST_TILE),
    );
    // A table that repeats must begin anew in every band.
    const period = whole.period !== undefined && whole.period < shape.rows ? whole.period : undefined;
    const unit = period ?? SMALLEST_TILE;
    const band = unit * Math.max(1, Math.floor((SMALLEST_TILE * tiles) / unit));
    const { inputOffset = 0, outputOffset = 0, residualOffset = outputOffset, tableOffset = 0 } = whole;
    for (let first = 0; first < shape.rows; first += band) {
      const one = { ...size, rows: Math.min(band, shape.rows - first) };
      // Rows that are windows are found by their pixel, others by their offset.
      const moved =
        shape.windowChannels === undefined
          ? {
              inputOffset: inputOffset + first * whole.inputStride,
              outputOffset: outputOffset + first * whole.outputStride,
              residualOffset: residualOffset + first * whole.outputStride,
              tableOffset: period === undefined ? tableOffset + first * shape.cols : tableOffset,
            }
          : { firstPixel: (whole.firstPixel ?? 0) + first };
      this.#steps.push({
        candidates: linearCandidates(one, profile),
        key: linearKey(one),
        buffers: [
          buffers.input,
          buffers.weight,
          // A buffer that is read anyway takes the place of one that the step has no use for.
          buffers.bias ?? buffers.weight,
          buffers.table ?? buffers.bias ?? buffers.weight,
          buffers.output,
        ],
        parameters: linearParameters(one, { ...whole, ...moved }),
        share: this.share,
        flops: perRow * one.rows,
      });
    }
  }

  /** Chooses plans, compiles what is not compiled yet, all at once, and binds everything. What the buffers hold may be lost to measuring. */
  async finish(label: string): Promise<BoundSteps> {
    const { tuner, pipelines: cache } = this.gpu;
    const plans: Plan[] = [];
    for (const { key, candidates, buffers, parameters } of this.#steps)
      plans.push(key === "" ? candidates[0]!.plan : await tuner.pick(this.gpu, key, candidates, buffers, parameters, true));
    tuner.save();
    const pipelines = await Promise.all(plans.map(({ variant }) => cache.get(variant)));
    const builder = new DispatchBuilder(this.gpu);
    for (const [index, { buffers, parameters }] of this.#steps.entries())
      builder.add(plans[index]!, pipelines[index]!, buffers, parameters);
    return {
      schedule: builder.finish(label),
      shares: this.#steps.map(({ share }) => share),
      flops: this.#steps.map(({ flops }) => flops),
    };
  }
}
