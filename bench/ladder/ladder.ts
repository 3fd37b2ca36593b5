import type { Plan } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { planAttention } from "../../src/ops/attention.js";
import { planLinear } from "../../src/ops/linear.js";

/**
 * The ladder: one operation as a row of kernels, each a single change to the one before, from naive to the library's own.
 * Read the WGSL files in order; their first comments say what changed and what was predicted of it.
 */

/** output [rows, cols] = input [rows, depth] · weight [depth, cols] + bias [cols]. */
export interface LinearSize {
  rows: number;
  depth: number;
  cols: number;
}

/** Self-attention with heads of 64: queries, keys and values side by side, [sequences · tokens, 3 · heads · 64]. */
export interface AttentionSize {
  sequences: number;
  tokens: number;
  heads: number;
}

export const HEAD_SIZE = 64;

/** What an adapter must have for a step: quads, or matrix units for 16 × 16 float16, which tests emulate in plain WGSL. */
export type Need = "subgroups" | "matrix";

export interface Step<Size> {
  /** Its number and what it adds. */
  name: string;
  /** From the root of the checkout. */
  file: string;
  entryPoint: string;
  overrides: Readonly<Record<string, number>>;
  workgroups(size: Size): readonly [number, number, number];
  /** Type of the operands and of the result: 32-bit floats, or 16-bit ones, two to a word. */
  storage: "f32" | "float16";
  needs: readonly Need[];
  /** Why the step cannot take a size; undefined where it can. */
  refuses(size: Size): string | undefined;
  /** What goes in front of the file beside the library's matrix functions: `parts/NAME_units.wgsl` or `_emulation.wgsl`. */
  part?: string;
  /** A step that is the library's own kernel: its plan, of which the fields above are then not used. */
  library?: (size: Size, profile: Profile) => Plan;
  /** What it taught, in one line; the kernel's first comment ends with it. */
  lesson: string;
}

const tiles = (count: number, size: number) => Math.ceil(count / size);
const multiples =
  (depth: number, cols: number) =>
  (size: LinearSize): string | undefined =>
    size.depth % depth === 0 && size.cols % cols === 0
      ? undefined
      : `takes a depth that is a multiple of ${depth} and columns that are of ${cols}`;

const LINEAR = {
  entryPoint: "linear",
  overrides: {},
  storage: "f32",
  needs: [],
  refuses: multiples(4, 4),
} as const;

const MATRIX = {
  ...LINEAR,
  storage: "float16",
  needs: ["matrix"],
  refuses: multiples(16, 8),
  workgroups: ({ rows, cols }: LinearSize): [number, number, number] => [tiles(cols, 128), tiles(rows, 128), 1],
} as const;

const linearLibrary = (size: LinearSize, profile: Profile) => planLinear({ ...size, epilogue: "none", result: "elem" }, profile);

export const LINEAR_STEPS: readonly Step<LinearSize>[] = [
  {
    ...LINEAR,
    name: "01 naive",
    file: "bench/ladder/linear/01_naive.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 16), tiles(rows, 16), 1],
    refuses: () => undefined,
    lesson: "loading costs more than computing: two loads for every multiply-add",
  },
  {
    ...LINEAR,
    name: "02 vectors",
    file: "bench/ladder/linear/02_vectors.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 64), tiles(rows, 16), 1],
    lesson: "a wide load costs what a narrow one costs, and what is loaded should be used more than once",
  },
  {
    ...LINEAR,
    name: "03 tile",
    file: "bench/ladder/linear/03_tile.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 64), tiles(rows, 16), 1],
    lesson:
      "a shared tile cuts storage traffic sixteenfold; where there is but one memory, its copy and its barriers are pure loss",
  },
  {
    ...LINEAR,
    name: "04 registers",
    file: "bench/ladder/linear/04_registers.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 64), tiles(rows, 64), 1],
    lesson: "reuse in registers is what counts: an r × c block needs r + c loads for r · c multiply-adds",
  },
  {
    ...LINEAR,
    name: "05 registers, 8 × 8",
    file: "bench/ladder/linear/05_registers_8x8.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 128), tiles(rows, 128), 1],
    lesson: "twice the block's side is half the traffic, until registers or tiles run out",
  },
  {
    ...LINEAR,
    name: "06 float16",
    file: "bench/ladder/linear/06_float16.wgsl",
    workgroups: ({ rows, cols }) => [tiles(cols, 128), tiles(rows, 128), 1],
    storage: "float16",
    lesson: "half the bytes help only as far as storage was the limit; the tile must shrink too, as matrix units' does",
  },
  {
    ...LINEAR,
    name: "07 quads",
    file: "kernels/linear_quad.wgsl",
    workgroups: () => [0, 0, 0],
    needs: ["subgroups"],
    library: (size, profile) => linearLibrary(size, { ...profile, software: true }),
    lesson: "on a CPU: no barriers, a larger block, and neighbours hand round what each of them loaded",
  },
  {
    ...MATRIX,
    name: "08 matrix units",
    file: "bench/ladder/linear/08_matrix.wgsl",
    part: "load_left_stored",
    workgroups: ({ rows, cols }) => [tiles(cols, 64), tiles(rows, 16), 1],
    refuses: multiples(16, 16),
    lesson: "a faster multiplier only moves the wall: one fragment loaded is one fragment used, and loading is the limit",
  },
  {
    ...MATRIX,
    name: "09 matrix, staged",
    file: "bench/ladder/linear/09_matrix_staged.wgsl",
    lesson: "sixteen multiplications for eight fragments: blocks in registers pay for matrix units as they did for numbers",
  },
  {
    ...MATRIX,
    name: "10 matrix, padded",
    file: "bench/ladder/linear/10_matrix_padded.wgsl",
    lesson: "pad staged rows by 16 bytes: the price is a few hundred bytes, the gain all bank conflicts",
  },
  {
    ...MATRIX,
    name: "11 matrix, prefetch",
    file: "bench/ladder/linear/11_matrix_prefetch.wgsl",
    lesson: "loads that set out before the multiplications arrive during them, if registers with names hold them",
  },
  {
    ...MATRIX,
    name: "12 matrix, the library's",
    file: "kernels/linear_matrix.wgsl",
    library: linearLibrary,
    lesson: "deeper panels, whole rows of fragments on the way out, and a tile that is picked by shape",
  },
];

const ATTENTION = {
  entryPoint: "attend",
  overrides: {},
  workgroups: ({ sequences, tokens, heads }: AttentionSize): [number, number, number] => [tiles(tokens, 64), heads, sequences],
  storage: "f32",
  needs: [],
  refuses: () => undefined,
} as const;

const attentionLibrary = (size: AttentionSize, profile: Profile) => planAttention({ ...size, headSize: HEAD_SIZE }, profile);

export const ATTENTION_STEPS: readonly Step<AttentionSize>[] = [
  {
    ...ATTENTION,
    name: "01 naive",
    file: "bench/ladder/attention/01_naive.wgsl",
    lesson: "scores that go through memory take as much of it as queries, keys and values together",
  },
  {
    ...ATTENTION,
    name: "02 online softmax",
    file: "bench/ladder/attention/02_online.wgsl",
    lesson: "a running maximum makes the softmax one pass, and the scores never leave the registers",
  },
  {
    ...ATTENTION,
    name: "03 tile",
    file: "bench/ladder/attention/03_tile.wgsl",
    lesson: "a tile that many queries share takes the load off storage, but one query a lane still loads all it multiplies",
  },
  {
    ...ATTENTION,
    name: "04 float16",
    file: "bench/ladder/attention/04_float16.wgsl",
    storage: "float16",
    lesson: "what is widened at each use is widened once a query: convert where the value is reused, or where it is free",
  },
  {
    ...ATTENTION,
    name: "05 blocks of queries",
    file: "kernels/attention.wgsl",
    storage: "float16",
    library: (size, profile) => attentionLibrary(size, { ...profile, software: false }),
    lesson: "lanes that share out keys, not queries: four times the workgroups and no arrays a lane, for the same loads",
  },
  {
    ...ATTENTION,
    name: "06 quads",
    file: "kernels/attention_quad.wgsl",
    needs: ["subgroups"],
    library: (size, profile) => attentionLibrary(size, { ...profile, software: true }),
    lesson: "on a CPU: no barriers, no workgroup memory, and neighbours hand round what each of them loaded",
  },
  {
    ...ATTENTION,
    name: "07 matrix units",
    file: "kernels/attention_matrix.wgsl",
    storage: "float16",
    needs: ["matrix"],
    library: attentionLibrary,
    lesson: "both GEMMs on matrix units; scores of all keys stay in workgroup memory, for fragments cannot be rescaled by row",
  },
];
