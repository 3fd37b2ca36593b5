import { StylizingError } from "../../errors.js";
import type { ModelKind } from "../kind.js";
import {
  checkVitConfig,
  describesVit,
  inferVitConfig,
  parseVitConfig,
  timmDetails,
  VIT_PRESETS,
  type VitConfig,
  vitPreset,
} from "./config.js";
import { VitWeights } from "./names.js";
import { vitShapes } from "./parameters.js";

/** Statistics of ImageNet, which DeiT's, DINO's and most of timm's weights were trained with. */
export const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/** The ViT classifier. Any repository of the Hub may be named that has its weights as safetensors. */
export const vit: ModelKind<VitConfig> = {
  name: "vit",
  presets: Object.keys(VIT_PRESETS),
  presetConfig: vitPreset,
  checkConfig: checkVitConfig,
  parseConfig: parseVitConfig,
  describes: describesVit,
  publishesConfigs: true,
  details: timmDetails,
  inferConfig: inferVitConfig,
  shapes: vitShapes,
  named: (source) => new VitWeights(source),
  published(name) {
    const [, repo, revision] = /^([\w.-]+\/[\w.-]+)(?:@(.*))?$/.exec(name) ?? [];
    if (repo === undefined || revision === "")
      throw new StylizingError(
        "ARGUMENT",
        `"${name}" is no model's name.`,
        "Give a repository of the Hugging Face Hub (timm/deit_small_patch16_224.fb_in1k), a folder or a .safetensors file.",
      );
    return { label: repo, repo, revision, ...(repo.startsWith("timm/") || repo.startsWith("facebook/") ? IMAGENET : {}) };
  },
};
