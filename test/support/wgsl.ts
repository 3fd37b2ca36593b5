import { readdirSync, readFileSync } from "node:fs";
import type { Variant } from "../../src/gpu/kernel.js";

const folder = new URL("../../kernels/", import.meta.url);

/** Kernels by name, from the folder itself. */
export const kernelNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith(".wgsl"))
  .map((file) => file.slice(0, -".wgsl".length));

export const kernelText = (name: string): string => readFileSync(new URL(`${name}.wgsl`, folder), "utf8");

/** A kernel's text with the parts that belong in front of it. */
export const wholeText = ({ kernel, parts = [] }: Pick<Variant, "kernel" | "parts">): string =>
  [...parts.map((part) => `parts/${part}`), kernel].map(kernelText).join("\n");

type Settings = Readonly<Record<string, number>>;

/** The value of WGSL expressions over a text's constants, with `settings` for what is generated and overridden. */
function evaluator(text: string, settings: Settings): (expression: string) => number {
  const defaults = [...text.matchAll(/^override (\w+)(?:: u32)? = (\d+)u?;/gm)].map(([, name, value]) => [name!, Number(value)]);
  const known: Record<string, number> = { ...Object.fromEntries(defaults), ...settings };
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
    if (/^(true|false)$|^array</.test(expression!)) continue;
    if (/^[-\d.]+(e\d+)?u?$/.test(expression!)) known[name!] = Number.parseFloat(expression!);
    else known[name!] = value(expression!);
  }
  return value;
}

/** Bytes of workgroup memory that a kernel declares. */
export function declaredWorkgroupBytes(text: string, settings: Settings, elementBytes: number): number {
  const sizes: Record<string, number> = {
    f32: 4,
    u32: 4,
    "atomic<u32>": 4,
    vec2u: 8,
    vec4f: 16,
    vec4u: 16,
    elem4: 4 * elementBytes,
  };
  const value = evaluator(text, settings);
  const aliases = new Map([...text.matchAll(/^alias (\w+) = (array<.+>);/gm)].map(([, name, type]) => [name!, type!]));
  let bytes = 0;
  for (const [, declared] of text.matchAll(/^var<workgroup> \w+: (.+);/gm)) {
    const [, type, count] = /^array<([\w<>]+), (.+)>$/.exec(aliases.get(declared!) ?? declared!) ?? [];
    bytes += sizes[type!]! * value(count!);
  }
  return bytes;
}

/** Width and height of an entry point's workgroup. */
export function workgroupSize(text: string, entryPoint: string, settings: Settings): [width: number, height: number] {
  const [, size] = new RegExp(`@compute @workgroup_size\\((.+)\\)\\s*fn ${entryPoint}\\(`).exec(text) ?? [];
  if (size === undefined) throw new Error(`there is no entry point ${entryPoint}`);
  const [width, height = 1] = size.split(",").map(evaluator(text, settings));
  return [width!, height];
}
