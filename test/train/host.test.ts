import { expect, it, vi } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { taskOf } from "../../src/models/tasks.js";
import { openTrainingHost } from "../../src/train/host.js";

const task = taskOf({});

const vgg = vi.hoisted(() => ({ error: undefined as Error | undefined, disposed: 0 }));

vi.mock("../../src/models/vgg/weights.js", async (original) => ({
  ...(await original<typeof import("../../src/models/vgg/weights.js")>()),
  openVgg: async () => {
    if (vgg.error) throw vgg.error;
    return { label: "a network", shapes: new Map(), [Symbol.asyncDispose]: async () => void vgg.disposed++ };
  },
}));

it("passes on what the network's weights fail with", async () => {
  vgg.error = new StylizingError("DOWNLOAD", "The hub could not be reached.", "Check the network.");
  await expect(openTrainingHost({ task, recipe: { vgg: "hub" }, channels: 3, adapter: "software" })).rejects.toBe(vgg.error);
});

it("closes the network where there is no device, and with the device", async () => {
  vgg.error = undefined;
  vgg.disposed = 0;
  const impossible = openTrainingHost({ task, recipe: { vgg: "hub" }, channels: 3, adapter: "software", precision: "matrix" });
  await expect(impossible).rejects.toMatchObject({ code: "GPU" });
  expect(vgg.disposed).toBe(1);
  const host = await openTrainingHost({ task, recipe: { vgg: "hub" }, channels: 3, adapter: "software" });
  expect(host).toMatchObject({ tier: "f32", isLost: false, adapter: { software: true } });
  await host[Symbol.asyncDispose]();
  expect(vgg.disposed).toBe(2);
});
