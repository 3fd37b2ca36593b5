import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openGpu } from "../../src/gpu/gpu.js";
import { softwareDriverAvailable } from "../../src/gpu/swiftshader.js";
import { openDevice } from "../../src/models/device.js";

// The order counts: once the software driver is open, this process has no other.
const saved = { ...process.env };
beforeEach(() => {
  delete process.env.STYLIZING_VIT_ADAPTER;
});
afterEach(() => {
  for (const name of ["STYLIZING_VIT_ADAPTER", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"]) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
});

describe("the choice of an adapter", () => {
  it.each(["gpu", "Software", ""])("refuses STYLIZING_VIT_ADAPTER=%j and lists what there is", async (name) => {
    process.env.STYLIZING_VIT_ADAPTER = name;
    await expect(openGpu()).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/auto, hardware or software/),
    });
  });

  it("is an argument's before it is the environment's", async () => {
    process.env.STYLIZING_VIT_ADAPTER = "software";
    await expect(openGpu({ adapter: "nonsense" as "auto" })).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringContaining('"nonsense"'),
    });
  });

  it.each<[string, object, RegExp]>([
    ["precision", { precision: "fp16" }, /Unknown precision "fp16".*auto, f32, f16 or matrix/],
    ["precision", { precision: "f64" }, /Unknown precision "f64"/],
    ["precision", { precision: 16 }, /Unknown precision 16/],
    ["tuning", { tune: "on" }, /Unknown tuning "on".*auto, off, fixed or measure/],
    ["adapter", { adapter: "cpu" }, /Unknown adapter "cpu"/],
  ])("comes after a look at the other options: an unknown %s", async (_, options, message) => {
    // With a device of the caller's own too, before anything is asked of it.
    for (const device of [undefined, {} as GPUDevice])
      await expect(openDevice({ ...options, ...(device ? { device } : {}) })).rejects.toMatchObject({
        code: "ARGUMENT",
        message: expect.stringMatching(message),
      });
  });

  it.runIf(process.platform === "linux")("of hardware where there is none names the cures", async () => {
    // A Vulkan loader that is told of no driver finds none, on a machine with a GPU too.
    process.env.VK_DRIVER_FILES = "/nonexistent/icd.json";
    process.env.VK_ICD_FILENAMES = "/nonexistent/icd.json";
    await expect(openGpu({ adapter: "hardware" })).rejects.toMatchObject({
      code: "NO_ADAPTER",
      message: expect.stringMatching(/No hardware GPU adapter/),
      fix: expect.stringMatching(/Vulkan driver[\s\S]*@sparticuz\/chromium[\s\S]*--adapter software/),
    });
  });

  it.runIf(softwareDriverAvailable())("of software works where hardware did not, and auto falls back on it", async () => {
    process.env.VK_DRIVER_FILES = "/nonexistent/icd.json";
    using software = await openGpu({ adapter: "software", precision: "f32" });
    expect(software.profile.software).toBe(true);
    using auto = await openGpu({ precision: "f32" });
    expect(auto.profile.software).toBe(true);
    process.env.STYLIZING_VIT_ADAPTER = "hardware";
    await expect(openGpu()).rejects.toMatchObject({ code: "NO_ADAPTER" });
  });
});
