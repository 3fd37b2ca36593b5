import { describe, expect, it } from "vitest";
import { isSoftware, MATRIX_FEATURE, makeProfile, type Precision } from "../../src/gpu/profile.js";
import { someFacts } from "../support/facts.js";

const PASSED = { ok: true, reason: "passed" };
const FAILED = { ok: false, reason: "the process died of SIGABRT" };
const without = (feature: string) => {
  const facts = someFacts();
  return someFacts({ features: new Set([...facts.features].filter((name) => name !== feature)) });
};

describe("the tier", () => {
  it.each([
    ["auto", "passed its trial", someFacts(), "auto", PASSED, "matrix"],
    ["matrix asked for", "passed its trial", someFacts(), "matrix", PASSED, "matrix"],
    ["f16 asked for", "passed its trial", someFacts(), "f16", PASSED, "f16"],
    ["f32 asked for", "passed its trial", someFacts(), "f32", PASSED, "f32"],
    ["auto", "failed its trial", someFacts(), "auto", FAILED, "f16"],
    ["matrix asked for", "failed its trial", someFacts(), "matrix", FAILED, "f16"],
    ["auto", "was not tried", someFacts(), "auto", undefined, "f16"],
    ["auto", "lacks the feature", without(MATRIX_FEATURE), "auto", PASSED, "f16"],
    ["auto", "has no 16-bit floats", without("shader-f16"), "auto", PASSED, "f16"],
    ["auto", "takes other shapes", someFacts({ matrixShapes: ["f16×f16→f32 8×8×8"] }), "auto", PASSED, "f16"],
    ["auto", "has subgroups of 16 or 32", someFacts({ subgroupSize: { min: 16, max: 32 } }), "auto", PASSED, "f16"],
    ["auto", "is a CPU", someFacts({ isFallbackAdapter: true }), "auto", PASSED, "f32"],
    ["f16 asked for", "is a CPU", someFacts({ isFallbackAdapter: true }), "f16", undefined, "f16"],
  ] as const)("%s, where the adapter's matrix unit %s", (_asked, _state, facts, precision, verdict, tier) => {
    const profile = makeProfile(facts, precision as Precision, verdict);
    expect(profile.tier).toBe(tier);
    expect(profile.elementBytes).toBe(tier === "f32" ? 4 : 2);
    // Neither is ever asked of a device that is not to use it: on some drivers their presence alone does harm.
    for (const feature of ["shader-f16", MATRIX_FEATURE]) expect(profile.features.includes(feature)).toBe(tier === "matrix");
    expect(profile.matrix).toBe(tier === "matrix" ? "units" : undefined);
    expect(profile.notes.length === 0).toBe(tier === "matrix");
  });

  it.each(["fp16", "f64", "F32", "", 16, null])("is none that it does not know: %j", (precision) => {
    expect(() => makeProfile(someFacts(), precision as Precision, PASSED)).toThrow(/Unknown precision.*auto, f32, f16 or matrix/);
  });

  it("says why it is not a higher one", () => {
    expect(makeProfile(someFacts(), "f32", PASSED).notes.join()).toMatch(/asked for/);
    expect(makeProfile(without("shader-f16"), "auto").notes.join()).toMatch(/no shader-f16/);
    expect(makeProfile(someFacts(), "auto", FAILED).notes.join()).toMatch(/died of SIGABRT/);
    expect(makeProfile(someFacts(), "auto").notes.join()).toMatch(/not tried/);
    expect(makeProfile(someFacts({ matrixShapes: [] }), "auto", PASSED).notes.join()).toMatch(/list nothing/);
    expect(makeProfile(someFacts({ subgroupSize: undefined }), "auto", PASSED).notes.join()).toMatch(/need 32/);
  });

  it("emulates matrix units in plain WGSL only where that is asked for too, and says so", () => {
    const cpu = someFacts({ isFallbackAdapter: true });
    expect(makeProfile(cpu, "matrix").tier).toBe("f32");
    expect(makeProfile(cpu, "auto", undefined, true).tier).toBe("f32");
    const profile = makeProfile(cpu, "matrix", undefined, true);
    expect(profile).toMatchObject({ tier: "matrix", matrix: "emulation", elementBytes: 2 });
    expect(profile.features).toEqual(["subgroups", "timestamp-query"]);
    expect(profile.notes.join()).toMatch(/emulated/);
  });
});

describe("software adapters", () => {
  it.each([
    ["SwiftShader by architecture", { architecture: "swiftshader", device: "swiftshader-device-subzero-" }],
    ["SwiftShader by description", { description: "SwiftShader driver 5.0.0" }],
    ["llvmpipe", { architecture: "", device: "llvmpipe (LLVM 19.1.0, 256 bits)" }],
    ["lavapipe", { description: "lavapipe 24.2" }],
    ["WARP", { device: "Microsoft Basic Render Driver" }],
    ["Vulkan's own flag", { isFallbackAdapter: true }],
  ])("are known by %s", (_, changes) => {
    expect(isSoftware(someFacts(changes))).toBe(true);
    expect(makeProfile(someFacts(changes), "f32").software).toBe(true);
  });

  it.each([
    ["NVIDIA", {}],
    ["Intel", { vendor: "intel", architecture: "gen-12lp", device: "Intel(R) UHD Graphics 770", description: "Mesa 24.0" }],
    ["Apple", { vendor: "apple", architecture: "metal-3", device: "Apple M2", description: "Metal driver" }],
  ])("are not %s's", (_, changes) => {
    expect(isSoftware(someFacts(changes))).toBe(false);
  });
});

describe("a profile", () => {
  it("asks only for features that are used and there", () => {
    expect(makeProfile(someFacts(), "auto", PASSED).features).toEqual([
      "subgroups",
      "timestamp-query",
      "shader-f16",
      MATRIX_FEATURE,
    ]);
    const bare = makeProfile(someFacts({ features: new Set() }), "auto", PASSED);
    expect(bare).toMatchObject({ features: [], subgroups: false, timestamps: false });
  });

  it("is frozen, and does not follow the facts that it was made from", () => {
    const facts = someFacts();
    const profile = makeProfile(facts, "auto", PASSED);
    expect(Object.isFrozen(profile)).toBe(true);
    expect(Object.isFrozen(profile.limits)).toBe(true);
    (facts.limits as { maxBufferSize: number }).maxBufferSize = 1;
    expect(profile.limits.maxBufferSize).toBe(2 ** 32);
  });
});
