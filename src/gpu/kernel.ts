import { readFileSync } from "node:fs";
import type { Profile } from "./profile.js";

/** One variant of a kernel: everything that decides its pipeline. */
export interface Variant {
  /** File in `kernels/`, without `.wgsl`. */
  kernel: string;
  entryPoint: string;
  /** Sizes of arrays that overrides cannot set: `name = value` pairs become `const`s. */
  constants: Readonly<Record<string, number>>;
  /** `f32` where the result goes to the residual stream, `elem` where it is an activation of the tier. */
  result: "f32" | "elem";
  overrides: Readonly<Record<string, number>>;
  /** Files of `kernels/parts/` that belong in front of the kernel. */
  parts?: readonly string[];
  /** Calls the matrix functions: the profile says whether units or their emulation go in front. */
  matrix?: boolean;
}

/** What of a profile decides a kernel's text. */
export type TextProfile = Pick<Profile, "elementBytes" | "matrix">;

const sources = new Map<string, string>();

/** The text of a kernel, read once a process. */
export function kernelSource(name: string): string {
  let source = sources.get(name);
  if (source === undefined) {
    source = readFileSync(new URL(`../../kernels/${name}.wgsl`, import.meta.url), "utf8");
    sources.set(name, source);
  }
  return source;
}

/** The parts in front of a kernel, in order: the element types of the tier, and what the variant asks for. */
function partsOf(variant: Variant, profile: TextProfile): string[] {
  const elem = profile.elementBytes === 2 ? "f16" : "f32";
  const result = variant.result === "f32" ? "f32" : elem;
  const matrix = profile.matrix === "units" ? "matrix_units" : "matrix_emulation";
  return [`elements_${elem}`, `results_${result}`, ...(variant.parts ?? []), ...(variant.matrix ? [matrix] : [])];
}

const DIRECTIVE = /^(enable|requires|diagnostic)\b.*/gm;

/**
 * The whole WGSL of a variant, and how many of its lines stand in front of the kernel's own. Directives must come first in a
 * module, so those of every part are moved there.
 */
export function composeKernel(
  variant: Variant,
  profile: TextProfile,
  kernel = kernelSource(variant.kernel),
): { code: string; front: number } {
  const constants = Object.entries(variant.constants).map(([name, value]) => `const ${name} = ${value}u;`);
  const parts = partsOf(variant, profile).map((name) => kernelSource(`parts/${name}`));
  const directives = new Set([...parts, kernel].flatMap((text) => text.match(DIRECTIVE) ?? []));
  const front = [...directives, constants.join(" "), ...parts.map((text) => text.replace(DIRECTIVE, ""))].join("\n");
  return { code: `${front}\n${kernel.replace(DIRECTIVE, "")}`, front: front.split("\n").length };
}

/** A readable name that tells variants apart; also the key of the cache and the label in GPU tools. */
export function variantLabel(variant: Variant, profile: TextProfile): string {
  const settings = { ...variant.constants, ...variant.overrides };
  const values = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const elem = profile.elementBytes === 2 ? "f16" : "f32";
  const parts = (variant.parts ?? []).map((name) => ` + ${name}`).join("");
  return `${variant.kernel}.${variant.entryPoint}<${elem}, ${variant.result === "f32" ? "f32" : elem}>(${values.join(", ")})${parts}`;
}

/** A storage buffer of group 0. Entry points that read it as different types declare it once for each, by a name of its own. */
export interface Binding {
  readonly names: readonly string[];
  readonly access: "read" | "write";
}

/** A word, or four, of the parameter block; its place in 32-bit words. */
export interface Field {
  readonly name: string;
  readonly type: "u32" | "f32" | "vec4f";
  readonly word: number;
}

/** What a kernel asks of its caller, as its own WGSL declares it. */
export interface KernelInterface {
  readonly bindings: readonly Binding[];
  readonly fields: readonly Field[];
}

const interfaces = new Map<string, KernelInterface>();

/**
 * Reads `struct Parameters` and the `@group(0)` bindings of a kernel and its parts.
 * @throws Error where a parameter has a type that is not known here, or a binding is missing.
 */
export function interfaceOf({ kernel, parts = [] }: Pick<Variant, "kernel" | "parts">): KernelInterface {
  const key = [kernel, ...parts].join();
  let found = interfaces.get(key);
  if (!found) {
    found = parseInterface(kernel, [...parts.map((part) => `parts/${part}`), kernel].map(kernelSource).join("\n"));
    interfaces.set(key, found);
  }
  return found;
}

function parseInterface(kernel: string, text: string): KernelInterface {
  const bindings: { names: string[]; access: "read" | "write" }[] = [];
  for (const [, index, access, name] of text.matchAll(
    /^@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> (\w+):/gm,
  )) {
    const at = Number(index);
    bindings[at] ??= { names: [], access: access === "read" ? "read" : "write" };
    bindings[at].names.push(name!);
  }
  for (let at = 0; at < bindings.length; at++) if (!bindings[at]) throw new Error(`${kernel}.wgsl has no binding ${at}`);
  const fields: Field[] = [];
  let word = 0;
  const body = /struct Parameters \{([^}]*)\}/.exec(text)?.[1] ?? "";
  for (const [, name, type] of body.matchAll(/^\s*(\w+): (\w+),/gm)) {
    if (type !== "u32" && type !== "f32" && type !== "vec4f")
      throw new Error(`${kernel}.wgsl: the parameter ${name} is a ${type}; give kernel.ts its size`);
    if (type === "vec4f") word = Math.ceil(word / 4) * 4;
    fields.push({ name: name!, type, word });
    word += type === "vec4f" ? 4 : 1;
  }
  return { bindings, fields };
}
