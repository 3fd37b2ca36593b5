import { resolveModelName } from "../../hub/catalogue.js";
import type { ModelKind } from "../kind.js";
import { checkConfig, describesModel, inferConfig, type ModelConfig, PRESETS, parseConfig, presetConfig } from "./config.js";
import { parameterShapes } from "./parameters.js";

/** Stylizing ViT. Its configurations need not say so. */
export const stylizingVit: ModelKind<ModelConfig> = {
  name: "stylizing-vit",
  presets: Object.keys(PRESETS),
  presetConfig,
  checkConfig,
  parseConfig,
  describes: describesModel,
  // What the published ones hold is not documented; shapes and 64-wide heads are what these models have.
  publishesConfigs: false,
  details: () => ({}),
  inferConfig,
  shapes: parameterShapes,
  named: (source) => source,
  published(name) {
    const { entry, revision } = resolveModelName(name);
    return { label: entry.name, repo: entry.repo, revision, mean: entry.mean, std: entry.std };
  },
};
