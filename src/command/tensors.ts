import { StylizingError } from "../errors.js";
import { SafetensorsFile } from "../hub/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../hub/safetensors-writer.js";

/** Images of a safetensors file, normalised, [batch, C, H, W]. */
export interface PixelTensor {
  batch: number;
  height: number;
  width: number;
  data: Float32Array;
}

/** @throws StylizingError `ARGUMENT` where the tensor is missing or is of another shape than `wanted`, which says what suits */
export async function readImages(
  file: SafetensorsFile,
  name: string,
  channels: number,
  fits: (height: number, width: number) => boolean,
  wanted: string,
): Promise<PixelTensor> {
  const info = file.tensors.get(name);
  if (!info)
    throw new StylizingError("ARGUMENT", `${file.path} has no tensor "${name}".`, `It must hold ${wanted}, normalised, F32.`);
  const [batch = 0, c, height = 0, width = 0] = info.shape;
  if (info.shape.length !== 4 || batch < 1 || c !== channels || !fits(height, width))
    throw new StylizingError(
      "ARGUMENT",
      `${file.path}: ${name} has the shape [${info.shape.join(", ")}].`,
      `This model takes ${wanted}.`,
    );
  return { batch, height, width, data: await file.read(name) };
}

/**
 * Normalised pairs of images of a safetensors file: `content` and `style`, [batch, C, S, S] each.
 * @throws StylizingError `CHECKPOINT` where it cannot be read, `ARGUMENT` where a tensor is missing or does not suit the model
 */
export async function readPairs(
  path: string,
  { in_channels: channels, image_size: size }: { in_channels: number; image_size: number },
) {
  await using file = await SafetensorsFile.open(path);
  const wanted = `content and style, [batch, ${channels}, ${size}, ${size}]`;
  const read = (name: string) => readImages(file, name, channels, (h, w) => h === size && w === size, wanted);
  const [content, style] = [await read("content"), await read("style")];
  if (content.batch !== style.batch)
    throw new StylizingError(
      "ARGUMENT",
      `${path}: ${content.batch} contents and ${style.batch} styles.`,
      "Give as many of one as of the other.",
    );
  return { batch: content.batch, content: content.data, style: style.data };
}

interface Grid {
  in_channels: number;
  patch_size: number;
}

/** Images for a classifier, of any size in whole patches: `pixels`. @throws StylizingError as `readPairs` does */
export async function readPixels(path: string, config: Grid): Promise<PixelTensor> {
  await using file = await SafetensorsFile.open(path);
  return pixelsOf(file, config);
}

function pixelsOf(file: SafetensorsFile, { in_channels: channels, patch_size: patch }: Grid): Promise<PixelTensor> {
  const whole = (side: number) => side >= patch && side % patch === 0;
  const wanted = `pixels, [batch, ${channels}, H, W], H and W multiples of ${patch}`;
  return readImages(file, "pixels", channels, (h, w) => whole(h) && whole(w), wanted);
}

/** The same with a label an image: `labels`, whole numbers below `classes`. @throws StylizingError as `readPairs` does */
export async function readLabelled(
  path: string,
  config: Grid & { num_classes: number },
): Promise<PixelTensor & { labels: number[] }> {
  await using file = await SafetensorsFile.open(path);
  const pixels = await pixelsOf(file, config);
  const wanted = `It must hold labels, I64 [${pixels.batch}], each below ${config.num_classes}.`;
  if (!file.tensors.has("labels")) throw new StylizingError("ARGUMENT", `${path} has no tensor "labels".`, wanted);
  const labels = await file.readIntegers("labels");
  const bad = labels.find((label) => !(label >= 0 && label < config.num_classes));
  if (labels.length !== pixels.batch || bad !== undefined)
    throw new StylizingError(
      "ARGUMENT",
      `${path} has ${labels.length} labels for ${pixels.batch} images${bad === undefined ? "" : `, and one of them is ${bad}`}.`,
      wanted,
    );
  return { ...pixels, labels };
}

/** Writes tensors in F32. @returns their names and shapes, for reports */
export async function writeTensors(path: string, outputs: readonly [string, TensorToWrite][]) {
  await writeSafetensors(path, outputs, { dtype: "F32" });
  return outputs.map(([name, { shape }]) => ({ name, shape }));
}
