import { HashedWeights } from "../../src/hub/hashed.js";
import type { ModelConfig } from "../../src/models/stylizing-vit/config.js";
import { StylizingTask, stylizing } from "../../src/models/stylizing-vit/task.js";
import type { OpenTask } from "../../src/models/task.js";
import { type Stage, VGG_STAGES, vggShapes } from "../../src/models/vgg/weights.js";

/** The recipe's loss terms. */
export const { terms } = stylizing;

/** A VGG-19 an eighth as wide: what a test holds that does not depend on its width needs a sixtieth of the time. */
export const THIN: readonly Stage[] = VGG_STAGES.map(({ convolutions, channels }) => ({ convolutions, channels: channels / 8 }));

/** The task with seeded random convolutions; thin unless `stages` say otherwise. */
export function openTask(channels = 3, stages = THIN): OpenTask<ModelConfig> {
  const vgg = new HashedWeights(vggShapes(channels, stages), 1);
  return {
    create: (gpu, config, settings) => StylizingTask.create(gpu, config, vgg, { ...settings, stages }),
    [Symbol.asyncDispose]: async () => {},
  };
}
