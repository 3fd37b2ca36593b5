import { interfaceOf, type Variant } from "./kernel.js";
import type { View } from "./view.js";

/** What an op's `plan` returns: the variant to compile and the grid to run it on. Pure, so it can be tested alone. */
export interface Plan {
  variant: Variant;
  workgroups: readonly [number, number, number];
  /** Bytes of workgroup memory that one workgroup uses. */
  workgroupBytes: number;
}

/** One way to do an op, for a tuner to choose from. */
export interface Candidate {
  /** Tells it from the others of its op, on disk as well. */
  name: string;
  plan: Plan;
}

/** Rows or sequences by the power of two above them: a tuner does not measure a batch of another size anew for that alone. */
export const bucket = (count: number): number => 2 ** Math.ceil(Math.log2(count));

/** The candidate called `choice`, else the first, which is the default: what was chosen once may be gone in a later version. */
export function pick(candidates: readonly Candidate[], choice?: string): Plan {
  return (candidates.find(({ name }) => name === choice) ?? candidates[0]!).plan;
}

/** Splits `count` workgroups over x and y, for grids longer than one dimension may be; kernels read both. */
export function spread(count: number, limit = 65535): [number, number, number] {
  const y = Math.max(1, Math.ceil(count / limit));
  return [Math.ceil(count / y), y, 1];
}

/** How a call is cut where it would run for too long. */
export interface Bands {
  /** Rows, sequences or whatever else it can be cut between, and how many of them stay together. */
  readonly count: number;
  readonly unit: number;
  /** Floating-point operations of one, at the rate of a large GEMM: what runs at a fraction of it counts for more. */
  readonly flops: number;
  /** The same call for [first, first + count) of them. */
  of(first: number, count: number): Call;
}

/**
 * One call of a kernel. Everything has the name that the kernel's WGSL gives it: operands those of its bindings and of the
 * `NAME_offset4` and `NAME_stride4` of its parameter block, values those of the other parameters.
 */
export interface Call {
  /** Op and shape, by which a tuner knows it; of no account where there is one candidate. */
  readonly key: string;
  /** The default first. */
  readonly candidates: readonly Candidate[];
  /** The candidate that is taken whatever the number of rows, where the default depends on it. */
  readonly fixed?: () => string;
  readonly operands: Readonly<Record<string, View | GPUBuffer>>;
  readonly values: Readonly<Record<string, number | boolean | readonly number[]>>;
  /** Floating-point operations where it is a GEMM, for rates; else 0. */
  readonly flops: number;
  readonly bands?: Bands;
}

/** A call of an op that has one plan. */
export function call(plan: Plan, operands: Call["operands"], values: Call["values"]): Call {
  return { key: "", candidates: [{ name: "", plan }], operands, values, flops: 0 };
}

const isView = (operand: View | GPUBuffer): operand is View => "buffer" in operand;

/**
 * The buffers of a call in the order of a variant's bindings.
 * @throws RangeError where a binding has no operand, or two.
 */
export function buffersOf(variant: Variant, { operands }: Pick<Call, "operands">): GPUBuffer[] {
  return interfaceOf(variant).bindings.map(({ names }) => {
    const given = names.filter((name) => operands[name] !== undefined);
    if (given.length !== 1) throw new RangeError(`${variant.kernel}: ${given.length} operands for ${names.join(" or ")}`);
    const operand = operands[given[0]!]!;
    return isView(operand) ? operand.buffer : operand;
  });
}

/**
 * The parameter block of a call, as the variant's WGSL lays it out: a value by its own name; `NAME_offset` and `NAME_stride` from
 * the view NAME; and a name that ends in 4 in vectors of four. Padding is zero.
 * @throws RangeError where nothing says what a parameter is, it is no whole number or multiple of 4 where it must be, or a value is
 *   given that no parameter takes.
 */
export function parameterBlock(
  variant: Variant,
  { operands, values }: Pick<Call, "operands" | "values">,
  bytes: number,
): ArrayBuffer {
  const block = new ArrayBuffer(bytes);
  const words = new DataView(block);
  const left = new Set(Object.keys(values));
  for (const { name, type, word } of interfaceOf(variant).fields) {
    if (name.startsWith("padding")) continue;
    const value = valueFor(name, operands, values, left);
    if ((typeof value === "object") !== (type === "vec4f"))
      throw new RangeError(`${variant.kernel}: ${name} is ${value}, and no ${type}`);
    if (typeof value === "object") {
      for (const [index, one] of value.entries()) words.setFloat32(4 * (word + index), one, true);
    } else if (type === "f32") {
      words.setFloat32(4 * word, value, true);
    } else {
      if (!(Number.isSafeInteger(value) && value >= 0)) throw new RangeError(`${variant.kernel}: ${name} is ${value}`);
      words.setUint32(4 * word, value, true);
    }
  }
  if (left.size > 0) throw new RangeError(`${variant.kernel} has no parameter ${[...left].join(", ")}`);
  return block;
}

function valueFor(
  name: string,
  operands: Call["operands"],
  values: Call["values"],
  left: Set<string>,
): number | readonly number[] {
  const inFours = name.endsWith("4");
  const whole = inFours ? name.slice(0, -1) : name;
  const given = values[name] === undefined ? whole : name;
  const value = values[given];
  if (value !== undefined) {
    left.delete(given);
    if (typeof value === "object") return value;
    return given === name ? Number(value) : Number(value) / 4;
  }
  const [, operand = "", what] = /^(\w+)_(offset|stride)$/.exec(whole) ?? [];
  const found = operands[operand];
  if (found === undefined || !isView(found)) throw new RangeError(`nothing says what ${name} is`);
  const numbers = what === "offset" ? found.first : found.stride;
  return inFours ? numbers / 4 : numbers;
}
