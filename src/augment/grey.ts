import { greyOf, inColour } from "../image/luma.js";
import type { PixelImage } from "../image/types.js";
import { MODEL_METHOD } from "../restyle/methods.js";
import type { Restyled, RestyleJob, RestyleOptions, Restyler } from "../restyle/types.js";

/**
 * Restyles images, grey ones as three equal channels where the method is a closed form, whose result is their luma. The model takes them
 * as they are. Throws as the restyler does.
 */
export async function restyleAny(restyler: Restyler, jobs: readonly RestyleJob[], options: RestyleOptions): Promise<Restyled[]> {
  if (restyler.method === MODEL_METHOD) return restyler.restyle(jobs, options);
  const isImage = (style: RestyleJob["style"]): style is PixelImage => typeof style === "object";
  const wide = jobs.map((job) => ({
    ...job,
    content: inColour(job.content),
    ...(isImage(job.style) ? { style: inColour(job.style) } : {}),
  }));
  const results = await restyler.restyle(wide, options);
  return results.map((result, index) =>
    jobs[index]!.content.channels === 1 ? { ...result, image: greyOf(result.image) } : result,
  );
}
