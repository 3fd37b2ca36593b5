import { describe, expect, it } from "vitest";
import { isSoftware, makeProfile, type Precision } from "../../src/gpu/profile.js";
import { someFacts } from "../support/facts.js";

const PASSED = { ok: true, reason: "passed" };
const FAILED = { ok: false, reason: "the process died of SIGABRT" };
const withoutHalf = someFacts({ features: new Set(["subgroups"]) });

describe("the tier", () => {
  it.each([
    ["auto", "passed its trial", someFacts(), "auto", PASSED, "f16"],
    ["f16 asked for", "passed its trial", someFacts(), "f16", PASSED, "f16"],
    ["f32 asked for", "passed its trial", someFacts(), "f32", PASSED, "f32"],
    ["auto", "failed its trial", someFacts(), "auto", FAILED, "f32"],
    ["f16 asked for", "failed its trial", someFacts(), "f16", FAILED, "f32"],
    ["auto", "was not tried", someFacts(), "auto", undefined, "f32"],
    ["auto", "is not there", withoutHalf, "auto", PASSED, "f32"],
    ["f16 asked for", "is not there", withoutHalf, "f16", undefined, "f32"],
  ] as const)("%s, where 16-bit arithmetic %s", (_asked, _state, facts, precision, verdict, tier) => {
    const profile = makeProfile(facts, precision as Precision, verdict);
    expect(profile.tier).toBe(tier);
    expect(profile.elementBytes).toBe(tier === "f16" ? 2 : 4);
    // shader-f16 is never asked of a device that is not to use it: on some drivers its presence alone does harm.
    expect(profile.features.includes("shader-f16")).toBe(tier === "f16");
    expect(profile.notes.length === 0).toBe(tier === "f16");
  });

  it("says why it is not a higher one", () => {
    expect(makeProfile(someFacts(), "f32", PASSED).notes.join()).toMatch(/asked for/);
    expect(makeProfile(withoutHalf, "auto").notes.join()).toMatch(/no shader-f16/);
    expect(makeProfile(someFacts(), "auto", FAILED).notes.join()).toMatch(/died of SIGABRT/);
    expect(makeProfile(someFacts(), "auto").notes.join()).toMatch(/not tried/);
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
    expect(makeProfile(someFacts(), "auto", PASSED).features).toEqual(["subgroups", "timestamp-query", "shader-f16"]);
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
