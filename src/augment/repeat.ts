import type { DataFormat } from "../datasets/types.js";
import type { Params } from "../restyle/types.js";
import type { AugmentOptions, StyleWay } from "./augment-options.js";
import type { ManifestHeader } from "./manifest.js";

/** The augmenter's options that a manifest was made with; `in` and `model` say where these are now. */
export function optionsOf(
  { input, pipeline }: Pick<ManifestHeader, "input" | "pipeline">,
  {
    in: moved,
    model,
    ...rest
  }: { in?: string | undefined; model?: string | undefined } & Pick<AugmentOptions, "batch" | "workers" | "load" | "onNote">,
): AugmentOptions {
  const { methods, kernels, ...plan } = pipeline as {
    methods: { name: string; weight: number; params: Params }[];
    kernels: string;
    styles: StyleWay;
  };
  return {
    ...plan,
    ...(model === undefined ? {} : { model }),
    method: methods.map(({ name, weight }) => `${name}:${weight}`).join(","),
    params: Object.fromEntries(methods.map(({ name, params }) => [name, params])),
    ...{ ...input, data: moved ?? input.path, inputFormat: input.format as DataFormat },
    ...rest,
  };
}
