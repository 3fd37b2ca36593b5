import type { WeightSource } from "../hub/weight-source.js";

/** What the configurations of all models have. */
export interface BaseConfig {
  image_size: number;
  in_channels: number;
  patch_size: number;
  embed_dim: number;
  /** Per channel, of pixels in [0, 1]. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** A published checkpoint on the Hugging Face Hub. */
export interface Published {
  label: string;
  repo: string;
  revision: string | undefined;
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
}

/** What is to be known of a kind of model to find one and to settle its configuration: see open.ts. */
export interface ModelKind<Config extends BaseConfig> {
  /** `kind` in a configuration. */
  readonly name: string;
  readonly presets: readonly string[];
  /** @throws StylizingError `ARGUMENT` for an unknown name */
  presetConfig(name: string): Config;
  /** @throws StylizingError `CONFIG` */
  checkConfig(config: Config): Config;
  /** @param shapes of the checkpoint that it lies beside, by the model's own names */
  parseConfig(json: unknown, label: string, shapes?: ReadonlyMap<string, readonly number[]>): Config;
  /** Whether a parsed `config.json` speaks about a model's shape at all; published ones may hold something else. */
  describes(json: unknown): boolean;
  /** Whether those of published checkpoints are to be read. */
  readonly publishesConfigs: boolean;
  /** What one says that does not. @throws StylizingError `CONFIG` where it is of a model that this is not */
  details(json: unknown): Partial<Config>;
  /** @throws StylizingError `CHECKPOINT` or `CONFIG` */
  inferConfig(shapes: ReadonlyMap<string, readonly number[]>, label: string): Config;
  shapes(config: Config): ReadonlyMap<string, readonly number[]>;
  /** A checkpoint under the model's own names. @throws StylizingError `CHECKPOINT` where it is another architecture's */
  named(source: WeightSource): WeightSource;
  /** The checkpoint that a published name means. @throws StylizingError `ARGUMENT` */
  published(name: string): Published;
}
