import { checkName, StylizingError } from "../errors.js";
import { FITS, type Fit } from "../image/preprocess.js";
import { GLASS } from "../image/tissue-weight.js";
import type { ModelConfig } from "../models/stylizing-vit/config.js";

/** What size results have, and where their detail comes from. */
export interface SizeOptions {
  /** `model` (the default): the model's square. `keep`: each result has its content's own size; contents are 8-bit then. */
  size?: "model" | "keep" | undefined;
  /**
   * Where detail comes from: `guided`, from the content, to which the painting's colours are fitted (the default where the size is
   * kept), or `model`, from the painting itself, which is enlarged where the size is kept.
   */
  detail?: "guided" | "model" | undefined;
  /** How images that are no squares become squares, styles too; `mirror` by default, `pad` as published. */
  fit?: Fit | undefined;
  /**
   * The scale that the model sees contents at: `fit` (the default), whole, in its square; `native`, their own; or a factor of it. Beyond its
   * square it paints overlapping windows. With guided detail and the kept size only.
   */
  scale?: Scale | undefined;
  /**
   * Bare glass: `keep`, it stays as it is; `paint`, it is painted like everything. By default it is kept where detail is guided and
   * the model's configuration says `"background": "white"`.
   */
  background?: "keep" | "paint" | undefined;
  /** With windows: those without tissue are not painted, and stay as they are. */
  skipBlank?: boolean | undefined;
}

export type Scale = "fit" | "native" | number;

/** All of it decided. */
export interface Sizing {
  size: "model" | "keep";
  detail: "guided" | "model";
  fit: Fit;
  scale: Scale;
  /** The colour of bare glass that is kept. */
  background: readonly number[] | undefined;
  skipBlank: boolean;
}

/** @throws StylizingError `ARGUMENT` for unknown names and for what does not go together. */
export function settleSizing(options: SizeOptions, config: Pick<ModelConfig, "background">): Sizing {
  const { size = "model", fit = "mirror", scale = "fit", skipBlank = false } = options;
  const { detail = size === "keep" ? "guided" : "model" } = options;
  const { background = detail === "guided" && config.background === "white" ? "keep" : "paint" } = options;
  checkName("size", size, ["model", "keep"]);
  checkName("detail", detail, ["guided", "model"]);
  checkName("fit", fit, FITS);
  checkName("background", background, ["keep", "paint"]);
  if (typeof scale !== "number") checkName("scale", scale, ["fit", "native"]);
  else if (!(scale > 0 && scale <= 1))
    throw new StylizingError("ARGUMENT", `scale is ${scale}.`, 'Give "fit", "native" or a factor above 0 and up to 1.');
  if (scale !== "fit" && (size !== "keep" || detail !== "guided"))
    throw new StylizingError(
      "ARGUMENT",
      `At the scale ${scale} the model paints windows, and size is ${size} and detail ${detail}.`,
      "Use size keep and detail guided.",
    );
  return { size, detail, fit, scale, background: background === "keep" ? GLASS : undefined, skipBlank };
}

/** Whether results are what the model gives, as it gives it. */
export const isPlain = ({ size, detail, background }: Sizing): boolean => size === "model" && detail === "model" && !background;
