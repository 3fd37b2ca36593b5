import { fileURLToPath } from "node:url";
import { checkName } from "../errors.js";
import { checkDeviceOptions, type Gpu, type OpenGpuOptions, openGpu } from "../gpu/gpu.js";
import { TUNE_MODES, type TuneMode } from "../gpu/tuner.js";

export interface GpuOptions extends Omit<OpenGpuOptions, "trial"> {
  /**
   * Whether kernels' tiles are chosen by measuring. `auto` (the default): on a GPU each op and shape is measured when it is first
   * met, which takes a fraction of a second, and remembered by adapter and driver. `off`: defaults only, for results that
   * are bit-exact from run to run. `fixed`: those, and the same ones for every size of batch, so that an image's result is bit-exact
   * whatever is beside it. `measure`: everything anew.
   */
  tune?: TuneMode;
}

/**
 * For those who have long work to do before they open a device.
 * @throws StylizingError `ARGUMENT` for a name that is none of an option's, `STYLIZING_VIT_ADAPTER` included.
 */
export function checkGpuOptions(options: GpuOptions): void {
  checkDeviceOptions(options);
  checkName("tuning", options.tune ?? "auto", TUNE_MODES);
}

/** A small model in a child process is what tries matrix units, once a driver. */
const TRIAL = fileURLToPath(new URL("./stylizing-vit/matrix-trial.js", import.meta.url));

/** Opens a device for models. @throws StylizingError `ARGUMENT`, `NO_ADAPTER` or `GPU`, see `openGpu` */
export async function openDevice(options: GpuOptions = {}): Promise<Gpu> {
  checkGpuOptions(options);
  return openGpu({ ...options, trial: TRIAL });
}
