import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../../kernels/", import.meta.url);

/** Kernels by name, from the folder itself. */
export const kernelNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith(".wgsl"))
  .map((file) => file.slice(0, -".wgsl".length));

export const kernelText = (name: string): string => readFileSync(new URL(`${name}.wgsl`, folder), "utf8");

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
  const sizes: Record<string, number> = { f32: 4, u32: 4, vec4f: 16, elem: elementBytes, elem4: 4 * elementBytes };
  let bytes = 0;
  for (const [, type, count] of text.matchAll(/^var<workgroup> \w+: array<(\w+), ([^>]+)>;/gm)) {
    const product = count!.split("*").map((factor) => settings[factor.trim()] ?? Number(factor));
    bytes += sizes[type!]! * product.reduce((a, b) => a * b);
  }
  return bytes;
}
