import { StylizingError } from "../errors.js";
import { SafetensorsFile } from "../hub/safetensors.js";

/**
 * Normalised pairs of images of a safetensors file: `content` and `style`, [batch, C, S, S] each.
 * @throws StylizingError `CHECKPOINT` where it cannot be read, `ARGUMENT` where a tensor is missing or does not suit the model
 */
export async function readPairs(path: string, config: { in_channels: number; image_size: number }) {
  await using file = await SafetensorsFile.open(path);
  const wanted = `[batch, ${config.in_channels}, ${config.image_size}, ${config.image_size}]`;
  const read = async (name: string) => {
    const info = file.tensors.get(name);
    if (!info)
      throw new StylizingError(
        "ARGUMENT",
        `${path} has no tensor "${name}".`,
        `It must hold content and style, ${wanted}, normalised, F32.`,
      );
    const [batch = 0, c, h, w] = info.shape;
    if (info.shape.length !== 4 || batch < 1 || c !== config.in_channels || h !== config.image_size || w !== config.image_size) {
      throw new StylizingError(
        "ARGUMENT",
        `${path}: ${name} has the shape [${info.shape.join(", ")}].`,
        `This model takes ${wanted}.`,
      );
    }
    return { batch, data: await file.read(name) };
  };
  const content = await read("content");
  const style = await read("style");
  if (content.batch !== style.batch)
    throw new StylizingError(
      "ARGUMENT",
      `${path}: ${content.batch} contents and ${style.batch} styles.`,
      "Give as many of one as of the other.",
    );
  return { batch: content.batch, content: content.data, style: style.data };
}
