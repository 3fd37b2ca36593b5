import type { Call } from "../../src/gpu/call.js";
import type { Profile } from "../../src/gpu/profile.js";
import { type View, view } from "../../src/gpu/view.js";
import { hashedUniform } from "../../src/hub/hashed.js";
import type { Tolerance } from "./compare.js";
import { isFloat16, type Kind, packed } from "./elements.js";
import { Random } from "./random.js";

/**
 * An op under test: its cases, and how each of them is made ready to run and to be checked. Tests compare whole results, benches
 * a few places of large ones; both take the same setup.
 */
export interface Op<C extends OpCase = OpCase> {
  /** Of the bench's `--op`. */
  readonly name: string;
  readonly cases: readonly C[];
  /** Makes no data yet, so that whoever only wants the call and its plans gets them at once. */
  setup(one: C, profile: Profile): Setup;
}

export interface OpCase {
  readonly name: string;
  /** A size that models run: too large for a CPU adapter and a naive oracle, so tests leave it out. */
  readonly bench?: BenchSize;
}

export interface BenchSize {
  /** Left out where the op is alike in all models. */
  model?: string;
  batch: number;
}

/** What stands in a buffer. */
export type Words = Float32Array | Uint32Array;

export interface Setup {
  /** On tokens in the place of buffers: see `Contents`. */
  readonly call: Call;
  readonly contents: Contents;
  readonly outputs: readonly Output[];
  readonly results: readonly Result[];
  /** Floating-point operations; 0 where an op is about moving bytes. */
  readonly flops: number;
  /** Bytes that must move if everything is read and written once, where operands do not say it. */
  readonly bytes?: number;
  /** M × K × N or whatever tells the size. */
  readonly shape: string;
}

/** A buffer that an op writes, and where. */
export interface Output {
  readonly buffer: GPUBuffer;
  /** What the region holds. */
  readonly kind: Kind | "bytes";
  /** In 32-bit words. */
  readonly region: Region;
  /** Whether what is there is read before it is written. */
  readonly adds?: boolean;
  /** Words of the region, counted from its start, that must stay as they are. */
  readonly stays?: (at: number) => boolean;
}

/** Numbers that follow from what an output holds, and what they should be. */
export interface Result {
  /** Where an op has several. */
  readonly name?: string;
  /** Index of the output; the first where it is left out. */
  readonly of?: number;
  readonly size: number;
  /** From the numbers of the output's region; the number at the same index where it is left out. */
  readonly value?: (numbers: ArrayLike<number>, at: number) => number;
  /** In float64. Benches ask for single places of large results. */
  readonly expected: (at: number) => number;
  /** What calculus gives, where `expected` is the zero that it is held to. */
  readonly truth?: (at: number) => number;
  /** Whether nothing is computed, so that every bit must be right. */
  readonly exact?: boolean;
  readonly tolerance?: (reference: Float64Array) => Tolerance;
  readonly place?: (at: number) => string;
}

/** A part of a buffer, in 32-bit words or in numbers: `cols` of each row. */
export interface Region {
  offset: number;
  stride: number;
  rows: number;
  cols: number;
}

/** `count` in a row. */
export const flat = (count: number, offset = 0): Region => ({ offset, stride: count, rows: 1, cols: count });

/** A region of elements in words: half as many where two lie in one. */
export function inWords(profile: Profile, { offset, stride, rows, cols }: Region, kind: Kind = "elem"): Region {
  const each = isFloat16(profile, kind) ? 2 : 1;
  return { offset: offset / each, stride: stride / each, rows, cols: cols / each };
}

/** The region that a matrix takes, in numbers. */
export const regionOf = ({ first, stride, rows, cols }: View): Region => ({ offset: first, stride, rows, cols });

/** What is made when it is first asked for. */
export function memo<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** Values that are computed `each` at a time: the rows, heads or images that somebody asks for. */
export function inUnits(each: number, unit: (index: number) => ArrayLike<number>): (at: number) => number {
  const made = new Map<number, ArrayLike<number>>();
  return (at) => {
    const index = Math.floor(at / each);
    let values = made.get(index);
    if (!values) {
      values = unit(index);
      made.set(index, values);
    }
    return values[at - index * each]!;
  };
}

/** What buffers hold before a run. Until there is a device, an empty object stands for each. */
export class Contents {
  readonly #made = new Map<GPUBuffer, () => Words>();

  add(make: () => Words): GPUBuffer {
    const token = {} as GPUBuffer;
    this.#made.set(token, memo(make));
    return token;
  }

  /** A matrix whose surroundings are NaN. */
  matrix(
    profile: Profile,
    kind: Kind,
    rows: number,
    cols: number,
    values: () => ArrayLike<number>,
    place: { first?: number; stride?: number } = {},
  ): View {
    const { first = 0, stride = cols } = place;
    const region = { offset: first, stride, rows, cols };
    const buffer = this.add(() => packed(profile, surrounded(values(), region), kind));
    return view(buffer, kind, rows, cols, place);
  }

  /** A matrix to be written, among sentinels: `old` is what stands there before, where an op adds to it. */
  output(
    profile: Profile,
    kind: Kind,
    rows: number,
    cols: number,
    place: { first?: number; stride?: number } = {},
    old?: () => Float32Array,
  ): { view: View; output: Output } {
    const region = inWords(profile, { offset: place.first ?? 0, stride: place.stride ?? cols, rows, cols }, kind);
    const buffer = this.add(() => {
      const before = sentinels(region);
      if (old) fill(before, region, packed(profile, old(), kind));
      return before;
    });
    return {
      view: view(buffer, kind, rows, cols, place),
      output: { buffer, kind, region, ...(old ? { adds: true } : {}) },
    };
  }

  get(token: GPUBuffer): Words {
    return this.#made.get(token)!();
  }

  get tokens(): readonly GPUBuffer[] {
    return [...this.#made.keys()];
  }
}

/** Words behind every output, more than a workgroup's row of vec4s. */
const TAIL = 300;

/** A quiet NaN that knows its place: arithmetic on it shows in every result, and a copy of it elsewhere shows as well. */
export const sentinel = (at: number): number => (0x7fc00000 | (at & 0x3fffff)) >>> 0;

/** A buffer of sentinels around and between the rows of `regions`. */
export function sentinels(...regions: Region[]): Uint32Array {
  const length = Math.max(...regions.map(({ offset, stride, rows }) => offset + stride * rows)) + TAIL;
  const words = new Uint32Array(Math.ceil(length / 4) * 4);
  for (let at = 0; at < words.length; at++) words[at] = sentinel(at);
  return words;
}

/** Puts the words of `values` into a region of `before`: what an op adds to. */
export function fill(before: Uint32Array, { offset, stride, rows, cols }: Region, values: Words): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let row = 0; row < rows; row++) before.set(words.subarray(row * cols, (row + 1) * cols), offset + row * stride);
}

/** A matrix inside a larger array whose other values are NaN: an op that uses one of them gives NaN. */
export function surrounded(values: ArrayLike<number>, { offset, stride, rows, cols }: Region): Float32Array {
  const length = Math.ceil((offset + stride * rows) / 4) * 4;
  if (values instanceof Float32Array && values.length === length && stride === cols) return values;
  const array = new Float32Array(length).fill(Number.NaN);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) array[offset + row * stride + col] = values[row * cols + col]!;
  }
  return array;
}

/** `front` NaNs, then numbers. */
export const behind = (front: number, values: ArrayLike<number>): Float32Array => surrounded(values, flat(values.length, front));

/** For messages: where a number of a matrix is. */
export const rowAndColumn = (cols: number) => (at: number) => `row ${Math.floor(at / cols)}, column ${at % cols}`;

/** The same deviation, uniform: any count of them in no time. */
class UniformRandom extends Random {
  readonly #name: string;
  #calls = 0;

  constructor(name: string) {
    super(name);
    this.#name = name;
  }

  override normals(count: number, scale = 1, mean = 0): Float32Array {
    const values = hashedUniform(`${this.#name} ${this.#calls++}`, count, 1);
    for (let at = 0; at < count; at++) values[at] = mean + Math.sqrt(3) * scale * values[at]!;
    return values;
  }
}

/** The numbers of a case, seeded by its name. */
export const randomOf = (one: OpCase): Random => (one.bench ? new UniformRandom(one.name) : new Random(one.name));

/** For `it.each("%s")`: title and case, of those that are not too large. */
export const tested = <C extends OpCase>(cases: readonly C[]): [string, C][] =>
  cases.filter((one) => !one.bench).map((one) => [one.name, one]);

/** A profile whose grid is so narrow that small cases spread over both of its sides. */
export const narrow = (profile: Profile, side: number): Profile => ({
  ...profile,
  limits: { ...profile.limits, maxComputeWorkgroupsPerDimension: side },
});
