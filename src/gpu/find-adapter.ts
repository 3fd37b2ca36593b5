import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { messageOf, StylizingError } from "../errors.js";
import { createInstance } from "./dawn.js";
import { openLibrary } from "./native.js";
import { type AdapterChoice, type AdapterFacts, adapterName, isSoftware, LIMITS } from "./profile.js";
import { openSoftwareDriver, softwareDriverAvailable } from "./swiftshader.js";

/** Of Dawn's binding; the type package does not know them yet. */
interface MatrixInfo {
  subgroupMatrixConfigs?: { componentType: string; resultComponentType: string; M: number; N: number; K: number }[];
  subgroupMinSize?: number;
  subgroupMaxSize?: number;
}

export function factsOf(info: GPUAdapterInfo, features: Iterable<string>, limits: GPUSupportedLimits): AdapterFacts {
  const { subgroupMatrixConfigs = [], subgroupMinSize: min = 0, subgroupMaxSize: max = 0 } = info as MatrixInfo;
  return {
    subgroupSize: max > 0 ? { min, max } : undefined,
    matrixShapes: subgroupMatrixConfigs.map(
      ({ componentType: of, resultComponentType: to, M, N, K }) => `${of}×${of}→${to} ${M}×${N}×${K}`,
    ),
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    isFallbackAdapter: (info as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false,
    features: new Set(features),
    limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]])) as AdapterFacts["limits"],
  };
}

/** Whether the system's own Vulkan loader can be opened. Asking Dawn instead makes it print a warning where it cannot. */
function systemVulkan(): boolean {
  if (process.platform !== "linux") return true;
  try {
    openLibrary("libvulkan.so.1", false);
    return true;
  } catch {
    return false;
  }
}

// One instance each for the life of the process: a second Dawn instance with other flags has been seen to crash it.
let systemInstance: Promise<GPU> | undefined;
let softwareInstance: Promise<GPU> | undefined;

/** Adapters that answer are listed in `seen`, for the message where none fits. */
export async function findAdapter(choice: AdapterChoice, seen: string[]): Promise<GPUAdapter | null> {
  // Opening our own driver points this process's Vulkan loader at it, so the system's adapters are asked for first.
  if (choice !== "software" && systemVulkan() && !softwareInstance) {
    systemInstance ??= createInstance();
    const adapter = await (await systemInstance).requestAdapter({ powerPreference: "high-performance" });
    if (adapter) {
      const facts = factsOf(adapter.info, adapter.features, adapter.limits);
      seen.push(adapterName(facts));
      if (choice === "auto" || !isSoftware(facts)) return adapter;
    }
  }
  if (choice === "hardware") return null;
  if (softwareDriverAvailable()) {
    try {
      openSoftwareDriver();
    } catch (error) {
      // A folder that cannot be written, say, is no missing adapter, and has its own cure.
      if (error instanceof StylizingError) throw error;
      seen.push(`SwiftShader (${messageOf(error)})`);
      return null;
    }
    softwareInstance ??= createInstance();
    return (await softwareInstance).requestAdapter();
  }
  systemInstance ??= createInstance();
  return systemVulkan() ? (await systemInstance).requestAdapter({ forceFallbackAdapter: true }) : null;
}

export function noAdapter(choice: AdapterChoice, seen: readonly string[]): StylizingError {
  const found = seen.length > 0 ? `found only ${seen.join(", ")}` : "found none";
  const driver =
    process.platform === "linux" ? "Install a Vulkan driver (on Linux also `libvulkan1`) for your GPU" : "Update your GPU driver";
  return new StylizingError(
    "NO_ADAPTER",
    `No ${choice === "auto" ? "usable" : choice} GPU adapter (${found}).`,
    `${driver}, or run on the CPU with \`npm install @sparticuz/chromium@147.0.0\` (Linux x64, slow) and \`--adapter software\`. \`stylizing-vit doctor\` tells more.`,
  );
}

/** One of several adapters that a process may have. */
export interface ListedAdapter {
  name: string;
  /** Runs on the CPU, as far as its name tells. */
  software: boolean;
  /** Of these, the binding can open the first alone. */
  ofThisName: number;
  /** SwiftShader out of its package, which the system does not know. */
  packaged: boolean;
}

/** Of no adapter: asked for it, the binding lists those that there are. */
const NOBODY = "stylizing-vit lists adapters";
const LIST = `import(process.argv[1]).then(({ create }) => create(["adapter=${NOBODY}"]).requestAdapter())
  .catch((error) => process.stdout.write(String(error.message ?? error)))`;
const LIST_SECONDS = 30;

/**
 * All adapters that can be chosen by name: the system's, and SwiftShader out of its package. A child process asks, since a second instance of
 * Dawn with other flags has been seen to crash.
 */
export async function listAdapters(): Promise<ListedAdapter[]> {
  const binding = pathToFileURL(createRequire(import.meta.url).resolve("webgpu")).href;
  const text = await new Promise<string>((resolve) => {
    if (!systemVulkan()) return resolve("");
    const limits = { timeout: LIST_SECONDS * 1000, killSignal: "SIGKILL" } as const;
    execFile(process.execPath, ["-e", LIST, binding], limits, (_error, stdout) => resolve(stdout));
  });
  const found = parseAdapters(text);
  const packaged = softwareDriverAvailable() && !found.some(({ name }) => /swiftshader/i.test(name));
  return packaged ? [...found, { name: "SwiftShader", software: true, ofThisName: 1, packaged }] : found;
}

/** What the binding says of adapters. One adapter on several backends is one. */
export function parseAdapters(text: string): ListedAdapter[] {
  const counts = new Map<string, Map<string, number>>();
  for (const [, backend, name] of text.matchAll(/^ \* backend: '(.*?)', name: '(.*)'$/gm)) {
    if (backend === "null") continue;
    const backends = counts.get(name!) ?? new Map<string, number>();
    counts.set(name!, backends.set(backend!, (backends.get(backend!) ?? 0) + 1));
  }
  return [...counts].map(([name, backends]) => ({
    ...{ name, software: /swiftshader|llvmpipe|lavapipe|basic render|\bwarp\b/i.test(name) },
    ...{ ofThisName: Math.max(...backends.values()), packaged: false },
  }));
}

/**
 * The adapter that a number or a part of a name means.
 * @throws StylizingError `ARGUMENT` where it is none, or several
 */
export function chooseAdapter(given: string, all: readonly ListedAdapter[]): ListedAdapter {
  const has = (one: string, part: string) => one.toLowerCase().includes(part.toLowerCase());
  // Larger ones are of names: 4090.
  const byNumber = /^\d{1,2}$/.test(given) ? all.slice(Number(given), Number(given) + 1) : undefined;
  const exact = all.filter(({ name }) => name.toLowerCase() === given.toLowerCase());
  const matches = byNumber ?? (exact.length > 0 ? exact : all.filter(({ name }) => has(name, given)));
  const [chosen] = matches;
  // The binding takes the first that has the name in its own.
  if (chosen && matches.length === 1 && (chosen.packaged || all.find(({ name }) => name.includes(chosen.name)) === chosen))
    return chosen;
  const list = all.map(({ name }, number) => `${number} ${name}`).join(", ");
  throw new StylizingError(
    "ARGUMENT",
    `The device "${given}" is ${chosen ? "not one alone" : "not there"}: there ${all.length === 0 ? "is none" : `are ${list}`}.`,
    "Give the number of one, or a part of its name that no other has.",
  );
}

let namedInstance: { name: string; instance: Promise<GPU> } | undefined;

/** Opens an adapter by number or name. @throws StylizingError `ARGUMENT` where there is none of that name, and as `findAdapter` does */
export async function findNamed(given: string, seen: string[]): Promise<GPUAdapter | null> {
  const { name, packaged } = chooseAdapter(given, await listAdapters());
  if (packaged) return findAdapter("software", seen);
  if (namedInstance?.name !== name) namedInstance = { name, instance: createInstance({ adapter: name }) };
  return (await namedInstance.instance).requestAdapter();
}
