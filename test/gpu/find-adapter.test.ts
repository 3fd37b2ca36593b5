import { afterEach, describe, expect, it, vi } from "vitest";
import { chosenOf } from "../../src/command/worker-processes.js";
import { chooseAdapter, type ListedAdapter, listAdapters, parseAdapters } from "../../src/gpu/find-adapter.js";
import { checkDeviceOptions, openGpu } from "../../src/gpu/gpu.js";
import { softwareDriverAvailable } from "../../src/gpu/swiftshader.js";

/** What the binding says of two drivers on one machine. */
const TWO = `no suitable backends found
Available adapters:
 * backend: 'vulkan', name: 'SwiftShader Device (Subzero)'
 * backend: 'vulkan', name: 'llvmpipe (LLVM 19.1.7, 256 bits)'`;
/** In its words, equal GPUs beside another one, and one that two backends reach. */
const MANY = `no suitable backends found
Available adapters:
 * backend: 'null', name: 'Null backend'
 * backend: 'd3d12', name: 'NVIDIA GeForce RTX 4090'
 * backend: 'vulkan', name: 'NVIDIA GeForce RTX 4090'
 * backend: 'vulkan', name: 'NVIDIA A100'
 * backend: 'vulkan', name: 'NVIDIA A100'
 * backend: 'vulkan', name: 'llvmpipe (LLVM 19.1.7, 256 bits)'`;
const names = (all: readonly ListedAdapter[]) => all.map(({ name }) => name);
const many = parseAdapters(MANY);

afterEach(() => {
  delete process.env.STYLIZING_VIT_DEVICE;
  vi.restoreAllMocks();
});

describe("the list of devices", () => {
  it("is what the binding says, each name once", () => {
    expect(parseAdapters(TWO)).toEqual([
      { name: "SwiftShader Device (Subzero)", software: true, ofThisName: 1, packaged: false },
      { name: "llvmpipe (LLVM 19.1.7, 256 bits)", software: true, ofThisName: 1, packaged: false },
    ]);
    expect(names(many)).toEqual(["NVIDIA GeForce RTX 4090", "NVIDIA A100", "llvmpipe (LLVM 19.1.7, 256 bits)"]);
    expect(many.map(({ ofThisName, software }) => [ofThisName, software])).toEqual([
      [1, false],
      [2, false],
      [1, true],
    ]);
    for (const text of ["", "no suitable backends found\nAvailable adapters:\n"]) expect(parseAdapters(text)).toEqual([]);
  });

  it("holds at least the software driver where there is one", async () => {
    const all = await listAdapters();
    expect(all.some(({ name }) => /swiftshader/i.test(name))).toBe(softwareDriverAvailable());
    expect(new Set(names(all)).size).toBe(all.length);
  });
});

describe("one of several devices", () => {
  it.each([
    ["0", "NVIDIA GeForce RTX 4090"],
    ["1", "NVIDIA A100"],
    ["4090", "NVIDIA GeForce RTX 4090"],
    ["nvidia a100", "NVIDIA A100"],
    ["LLVM", "llvmpipe (LLVM 19.1.7, 256 bits)"],
  ])("%s is %s", (given, name) => {
    expect(chooseAdapter(given, many).name).toBe(name);
  });

  it.each([
    ["3", /"3" is not there: there are 0 NVIDIA GeForce RTX 4090, 1 NVIDIA A100, 2 llvmpipe/],
    ["7", /"7" is not there/],
    ["radeon", /"radeon" is not there/],
    ["nvidia", /"nvidia" is not one alone/],
  ])("%s is refused, with those that there are", (given, message) => {
    expect(() => chooseAdapter(given, many)).toThrow(
      expect.objectContaining({ code: "ARGUMENT", message: expect.stringMatching(message) }),
    );
  });

  it("is refused where the binding would take another one", () => {
    const all = parseAdapters(" * backend: 'vulkan', name: 'GPU Super'\n * backend: 'vulkan', name: 'GPU'");
    expect(chooseAdapter("Super", all).name).toBe("GPU Super");
    expect(() => chooseAdapter("1", all)).toThrow(/not one alone/);
    expect(() => chooseAdapter("gpu", [])).toThrow(/there is none/);
  });

  it("for workers: all GPUs, or all that there is; those that are named, each once", () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    expect(names(chosenOf("all", many))).toEqual(["NVIDIA GeForce RTX 4090", "NVIDIA A100"]);
    expect(said.mock.calls.join("")).toMatch(/2 devices are called NVIDIA A100/);
    expect(names(chosenOf("all", parseAdapters(TWO)))).toHaveLength(2);
    expect(names(chosenOf("2,0,llvm", many))).toEqual(["llvmpipe (LLVM 19.1.7, 256 bits)", "NVIDIA GeForce RTX 4090"]);
    expect(() => chosenOf("0,9", many)).toThrow(/"9" is not there/);
    expect(() => chosenOf("all", [])).toThrow(expect.objectContaining({ code: "NO_ADAPTER" }));
  });

  it("is the environment's unless an argument asks for hardware or software", () => {
    process.env.STYLIZING_VIT_DEVICE = "A100";
    expect(checkDeviceOptions({}).named).toBe("A100");
    expect(checkDeviceOptions({ adapter: "auto" }).named).toBe("A100");
    expect(checkDeviceOptions({ adapter: "software" }).named).toBeUndefined();
    expect(checkDeviceOptions({ device: {} as GPUDevice }).named).toBeUndefined();
    process.env.STYLIZING_VIT_DEVICE = "";
    expect(checkDeviceOptions({}).named).toBeUndefined();
  });

  it("that is not there opens nothing", async () => {
    process.env.STYLIZING_VIT_DEVICE = "no such device";
    await expect(openGpu()).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringContaining("no such device") });
  });

  it.runIf(softwareDriverAvailable())("opens by a part of its name", async () => {
    process.env.STYLIZING_VIT_DEVICE = "swiftsh";
    using gpu = await openGpu({ precision: "f32" });
    expect(gpu.facts.architecture).toMatch(/swiftshader/i);
  });
});
