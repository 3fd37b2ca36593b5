import { readdirSync, readFileSync } from "node:fs";
import type { Variant } from "../../src/gpu/pipelines.js";

const folder = new URL("../../kernels/", import.meta.url);

/** Kernels by name, from the folder itself. */
export const kernelNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith(".wgsl"))
  .map((file) => file.slice(0, -".wgsl".length));

export const kernelText = (name: string): string => readFileSync(new URL(`${name}.wgsl`, folder), "utf8");

/** A kernel's text with the parts that belong in front of it. */
export const wholeText = ({ kernel, parts = [] }: Pick<Variant, "kernel" | "parts">): string =>
  [...parts.map((part) => `parts/${part}`), kernel].map(kernelText).join("\n");

/** 32-bit words of a kernel's parameter block, as WGSL lays it out. */
export function parameterWords(text: string): number {
  const body = /struct Parameters \{([^}]*)\}/.exec(text)?.[1] ?? "";
  let words = 0;
  for (const [, type] of body.matchAll(/^\s*\w+: (\w+),/gm)) {
    if (type === "vec4f") words = Math.ceil(words / 4) * 4 + 4;
    else if (type === "u32" || type === "f32") words += 1;
    else throw new Error(`a parameter of type ${type}: teach this test its size`);
  }
  return words;
}

/** Bytes of workgroup memory that a kernel declares, with `settings` for its constants and overrides. */
export function declaredWorkgroupBytes(text: string, settings: Readonly<Record<string, number>>, elementBytes: number): number {
  const sizes: Record<string, number> = { f32: 4, u32: 4, vec4f: 16, vec4u: 16, elem4: 4 * elementBytes };
  const known: Record<string, number> = { ...settings };
  const value = (expression: string): number => {
    const numbers = expression.replace(/[A-Z]\w*/g, (name) => {
      if (known[name] === undefined) throw new Error(`${expression}: ${name} is not known`);
      return String(known[name]);
    });
    if (!/^(?:[\d\s()+*/,-]|max)+$/.test(numbers)) throw new Error(`${expression}: teach this test its operators`);
    // Integer division, as WGSL has it; all of these divide evenly or are floored on purpose.
    return Math.floor(new Function("max", `return ${numbers};`)(Math.max) as number);
  };
  for (const [, name, expression] of text.matchAll(/^const ([A-Z]\w*) = ([^;"]+);/gm)) {
    if (/^[-\d.]+(e\d+)?u?$/.test(expression!)) known[name!] = Number.parseFloat(expression!);
    else known[name!] = value(expression!);
  }
  const aliases = new Map([...text.matchAll(/^alias (\w+) = (array<.+>);/gm)].map(([, name, type]) => [name!, type!]));
  let bytes = 0;
  for (const [, declared] of text.matchAll(/^var<workgroup> \w+: (.+);/gm)) {
    const [, type, count] = /^array<(\w+), (.+)>$/.exec(aliases.get(declared!) ?? declared!) ?? [];
    bytes += sizes[type!]! * value(count!);
  }
  return bytes;
}
