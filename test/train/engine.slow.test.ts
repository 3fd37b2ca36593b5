import { describe, it } from "vitest";
import { gpuOfThisFile } from "../support/gpu.js";
import { losesItsDevice } from "./engine.js";

// Skips where there is no adapter.
gpuOfThisFile();

describe("the training engine", () => {
  it.each(["a step", "a state"] as const)("says that its device is lost, at %s", (when) => losesItsDevice(when));
});
