import { describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.js";
import { columnsOf, rowsOf, type View, view } from "../../src/gpu/view.js";
import { foldedLinear, foldLinear, type TrainedLinear, unfoldLinear } from "../../src/net/folding.js";
import { rowsBehind } from "../../src/net/layers/adjoints.js";
import { type AttentionIndex, AttentionOut } from "../../src/net/layers/attention-out.js";
import { Mlp } from "../../src/net/layers/mlp.js";
import { NormLinear } from "../../src/net/layers/norm-linear.js";
import { axis, type MatrixSource, Parameters } from "../../src/net/parameters.js";
import { writeArray } from "../../src/net/pixels.js";
import type { Recorder } from "../../src/net/recorder.js";
import { Runner } from "../../src/net/runner.js";
import { type Layer, Tape } from "../../src/net/tape.js";
import { NO_READER } from "../../src/ops/attention-backward.js";
import { sumSlices } from "../../src/ops/rows.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";
import { Random } from "../support/random.js";
import { SLOW } from "../support/slow.js";

/**
 * Layers in an order that nobody chose: streams of tokens that pass through blocks of their own, attend to one another, and are
 * replaced by a block over two of them. A stream's rows then have several readers (a norm, a residual, another stream's keys and
 * values), whose gradients must meet; what a layer writes and what it adds to decides. Held by finite differences.
 */
const gpu = gpuOfThisFile();

const TOKENS = 5;
const WIDTH = 12;
const HEADS = 3;
const HIDDEN = 20;
const SEQUENCES = 2;
const ROWS = SEQUENCES * TOKENS;
const width = axis(WIDTH);

/** One step of a graph: a block of stream `i`; with `from` its keys and values are that stream's; with `query` its queries and residual. */
interface Block {
  i: number;
  from: number;
  query: number;
  checkpoint: boolean;
}

/** Blocks over `streams`, of which every kind occurs. */
function randomBlocks(random: Random, streams: number): Block[] {
  const kinds = ["self", "cross", "replace", "replace", "cross", "self"].slice(random.integer(2));
  return kinds.map((kind) => {
    const i = random.integer(streams);
    const other = (i + 1 + random.integer(streams - 1)) % streams;
    const checkpoint = random.uniform(0, 1) < 0.5;
    if (kind === "self") return { i, from: i, query: i, checkpoint };
    // Replacing a stream writes its gradient anew: what was there belongs to the rows that came out.
    return kind === "cross" ? { i, from: other, query: i, checkpoint } : { i, from: i, query: other, checkpoint };
  });
}

class Graph {
  readonly parameters = new Parameters();
  readonly blocks: readonly Block[];
  readonly streams: number;
  readonly #runner: Runner;
  readonly #gpu: Gpu;
  readonly #buffers: GPUBuffer[] = [];
  readonly #weights: { qkv: TrainedLinear; out: TrainedLinear; fc1: TrainedLinear; fc2: TrainedLinear }[] = [];
  readonly flat: GPUBuffer;
  readonly gradients: GPUBuffer;

  constructor(gpu: Gpu, blocks: readonly Block[], streams: number) {
    this.#gpu = gpu;
    this.blocks = blocks;
    this.streams = streams;
    this.#runner = new Runner(gpu, "off", rowsBehind(gpu.profile));
    const matrix = (key: string, outputs: number): MatrixSource => {
      const initial = { uniform: 0.5 };
      return { key, outputs: axis(outputs), weight: initial, bias: initial };
    };
    const p = this.parameters;
    for (const index of blocks.keys()) {
      const [first, second, third] = ["input", "context", "mlp"].map((name) => p.norm(`${index}.${name}`, width));
      const made = [
        p.linear(`${index} qkv`, width, [
          { norm: first!, factor: 1 / Math.sqrt(WIDTH / HEADS), sources: [matrix(`${index}.q`, WIDTH)] },
          { norm: second!, sources: [matrix(`${index}.k`, WIDTH), matrix(`${index}.v`, WIDTH)] },
        ]),
        p.linear(`${index} out`, width, [{ sources: [matrix(`${index}.out`, WIDTH)] }]),
        p.linear(`${index} fc1`, width, [{ norm: third!, sources: [matrix(`${index}.fc1`, HIDDEN)] }]),
        p.linear(`${index} fc2`, axis(HIDDEN), [{ sources: [matrix(`${index}.fc2`, WIDTH)] }]),
      ].map((linear) => foldedLinear(gpu, linear, this.#buffers));
      const [qkv, out, fc1, fc2] = made as [TrainedLinear, TrainedLinear, TrainedLinear, TrainedLinear];
      this.#weights.push({ qkv, out, fc1, fc2 });
    }
    this.flat = this.#storage("parameters", p.count);
    this.gradients = this.#storage("gradients", p.count);
  }

  #storage(label: string, count: number): GPUBuffer {
    const buffer = this.#gpu.storage(label, 4 * count);
    this.#buffers.push(buffer);
    return buffer;
  }

  #record(r: Recorder, backward: boolean): void {
    for (const weights of this.#weights) for (const linear of Object.values(weights)) foldLinear(r, this.flat, linear);
    const tape = new Tape(r);
    const gradient = r.scratch("gradient", this.streams * ROWS, WIDTH, "f32");
    const gradientOf = (stream: number) => rowsOf(gradient, stream * ROWS, ROWS);
    const input = r.scratch("input", this.streams * ROWS, WIDTH, "f32");
    const values = Array.from({ length: this.streams }, (_, stream) => rowsOf(input, stream * ROWS, ROWS));
    const index: AttentionIndex = {
      sequences: SEQUENCES,
      contexts: SEQUENCES,
      index: r.index(Array.from({ length: SEQUENCES }, (_, s) => [s * TOKENS, s * TOKENS])),
      readers: r.index(Array.from({ length: SEQUENCES }, (_, s) => [s * TOKENS, s, NO_READER, 0])),
    };
    for (const [at, block] of this.blocks.entries()) {
      const run = () => this.#run(tape, at, block, values, gradientOf, index);
      if (block.checkpoint) tape.checkpoint(run);
      else run();
    }
    const results = r.scratch("results", this.streams * ROWS, WIDTH, "f32");
    const upstream = r.scratch("upstream", this.streams * ROWS, WIDTH, "f32");
    const copy = (from: View, to: View) =>
      r.emit(sumSlices, {
        x: view(from.buffer, "f32", 1, from.rows * WIDTH, { first: from.first }),
        y: view(to.buffer, "f32", 1, from.rows * WIDTH, { first: to.first }),
        accumulate: false,
      });
    for (const [stream, value] of values.entries()) copy(value, rowsOf(results, stream * ROWS, ROWS));
    /** The loss is the sum of the results, weighed: its gradient is the weights. */
    const loss: Layer<undefined> = { forward: () => copy(upstream, gradient) };
    tape.run(loss, undefined);
    if (!backward) return;
    tape.backward();
    for (const weights of this.#weights)
      for (const linear of Object.values(weights)) unfoldLinear(r, this.flat, this.gradients, linear);
  }

  #run(tape: Tape, at: number, block: Block, values: View[], gradientOf: (stream: number) => View, index: AttentionIndex): void {
    const r = tape.recorder;
    const { qkv, out, fc1, fc2 } = this.#weights[at]!;
    const { i, from, query } = block;
    const scratch = (name: string, cols: number, type: View["type"]) => r.scratch(`${name} ${at}`, ROWS, cols, type);
    const rows = scratch("qkv", 3 * WIDTH, "elem");
    const dRows = r.scratch("qkv gradient", ROWS, 3 * WIDTH, "elem");
    const part = (output: number, cols: number) => [
      { row: 0, output, y: columnsOf(rows, output, cols), dy: columnsOf(dRows, output, cols) },
    ];
    const project = new NormLinear(qkv, this.gradients, WIDTH);
    const replaces = query !== i;
    if (from === query)
      tape.run(project, [{ x: values[i]!, dx: gradientOf(i), accumulate: true, projections: part(0, 3 * WIDTH) }]);
    else
      tape.run(project, [
        { x: values[query]!, dx: gradientOf(query), accumulate: true, projections: part(0, WIDTH) },
        { x: values[from]!, dx: gradientOf(from), accumulate: !replaces, projections: part(WIDTH, 2 * WIDTH) },
      ]);
    const residual = scratch("residual", WIDTH, "f32");
    const [q, k, v] = [0, 1, 2].map((n) => columnsOf(rows, n * WIDTH, WIDTH)) as [View, View, View];
    const [dq, dk, dv] = [0, 1, 2].map((n) => columnsOf(dRows, n * WIDTH, WIDTH)) as [View, View, View];
    const scale = 1 / Math.sqrt(WIDTH / HEADS);
    tape.run(new AttentionOut(out, this.gradients, { tokens: TOKENS, heads: HEADS, scale }), {
      ...{ sequences: index, q, k, v, dq, dk, dv, attended: scratch("attended", WIDTH, "elem") },
      ...{ x: values[query]!, y: residual, dy: gradientOf(i), dx: gradientOf(query) },
    });
    const y = scratch("value", WIDTH, "f32");
    const hidden = scratch("hidden", axis(HIDDEN).padded, "elem");
    const outputs = [{ row: 0, y, again: true }];
    tape.run(new Mlp(fc1, fc2, this.gradients, WIDTH), { x: residual, hidden, outputs, dx: gradientOf(i) });
    values[i] = y;
  }

  /** Σ upstream · results, and with `backward` all gradients. */
  async run(flat: Float32Array, input: Float32Array, upstream: Float32Array, backward = false) {
    const { arena } = this.#runner;
    const numbers = this.streams * ROWS * WIDTH;
    const [results, gradient, gradients] = await this.#runner.run(async () => {
      const { program } = await this.#runner.program(`${backward}`, "a graph", (r) => this.#record(r, backward));
      return {
        label: "graph",
        programs: [program],
        upload: (encoder) => {
          const { queue } = this.#gpu.device;
          writeArray(queue, this.flat, flat);
          writeArray(queue, arena.buffer("input"), input);
          writeArray(queue, arena.buffer("upstream"), upstream);
          encoder.clearBuffer(this.gradients);
        },
        reads: [
          { buffer: arena.buffer("results"), bytes: 4 * numbers },
          { buffer: arena.buffer("gradient"), bytes: 4 * numbers },
          { buffer: this.gradients, bytes: 4 * this.parameters.count },
        ],
      };
    });
    const floats = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    return {
      loss: floats(results!).reduce((sum, value, at) => sum + value * upstream[at]!, 0),
      input: floats(gradient!),
      parameters: floats(gradients!),
    };
  }

  dispose(): void {
    this.#runner.dispose();
    this.#gpu.release(...this.#buffers);
  }
}

const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

describe.each([
  ["software", (own: Gpu) => own],
  ["hardware", (own: Gpu) => new Gpu(own.device, own.facts, hardwareProfile(own.profile), false)],
])("kernels of a %s adapter", (_, on) => {
  it.each(SLOW ? [1, 2, 3] : [1])(
    "graph %i: gradients are those of finite differences, checkpointing changes none",
    async (seed) => {
      const random = new Random(`graph ${seed}`);
      const streams = 2 + (seed % 2);
      const blocks = randomBlocks(random, streams);
      const graph = new Graph(on(gpu()), blocks, streams);
      const plain = new Graph(
        on(gpu()),
        blocks.map((block) => ({ ...block, checkpoint: false })),
        streams,
      );
      try {
        const tensors = graph.parameters.initial(seed);
        const flat = graph.parameters.flatten(tensors);
        const count = streams * ROWS * WIDTH;
        const input = Float32Array.from({ length: count }, () => random.uniform(-1, 1));
        const upstream = Float32Array.from({ length: count }, () => random.uniform(-1, 1));
        const all = await graph.run(flat, input, upstream, true);
        expect(await plain.run(flat, input, upstream, true)).toEqual(all);

        // Aslant to the gradient: along it a wrong factor shows, and beside it a part that should not be there.
        const slope = async (what: string, gradient: Float32Array, loss: (by: Float32Array) => Promise<number>) => {
          const length = norm(gradient);
          const direction = gradient.map((g) => g / length + random.uniform(-1, 1) / Math.sqrt(gradient.length));
          const step = 3e-3;
          const [up, down] = [await loss(direction.map((d) => step * d)), await loss(direction.map((d) => -step * d))];
          const expected = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
          expect(Math.abs((up - down) / (2 * step) / expected - 1), `${what} of ${JSON.stringify(blocks)}`).toBeLessThan(1e-2);
        };
        const add = (a: Float32Array, b: Float32Array) => a.map((x, i) => x + b[i]!);
        await slope("the input", all.input, async (by) => (await graph.run(flat, add(input, by), upstream)).loss);
        const gradients = graph.parameters.unflatten(all.parameters);
        // Tensors of one kind in all blocks at once.
        const kinds = new Set([...gradients.keys()].map((key) => key.replace(/^\d+\./, "")));
        expect(kinds.size).toBe(18);
        for (const kind of kinds) {
          const keys = [...gradients.keys()].filter((key) => key.endsWith(`.${kind}`));
          const gradient = Float32Array.from(keys.flatMap((key) => [...gradients.get(key)!]));
          if (kind === "k.bias") {
            // Softmax does not see it: what it has is rounding.
            expect(norm(gradient), kind).toBeLessThan(1e-4 * norm(all.parameters));
            continue;
          }
          await slope(kind, gradient, async (by) => {
            const moved = new Map(tensors);
            const each = gradient.length / keys.length;
            for (const [n, key] of keys.entries()) moved.set(key, add(tensors.get(key)!, by.subarray(n * each, (n + 1) * each)));
            return (await graph.run(graph.parameters.flatten(moved), input, upstream)).loss;
          });
        }
      } finally {
        graph.dispose();
        plain.dispose();
      }
    },
  );
});
