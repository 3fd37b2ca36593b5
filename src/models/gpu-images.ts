import { checkName, StylizingError } from "../errors.js";
import { BufferUsage } from "../gpu/dawn.js";
import { describeValue } from "../image/checks.js";
import type { BaseConfig } from "./kind.js";

/**
 * Images of the model's size in a buffer of the model's own device: [batch, height, width, channels]. It has COPY_SRC, and is neither
 * mapped nor destroyed until the call is done. Floats are in [0, 1]; nobody looks at them.
 */
export interface GpuImages {
  buffer: GPUBuffer;
  /** Bytes in front; a multiple of 4. */
  offset?: number;
  shape: readonly [batch: number, height: number, width: number, channels: number];
  format: "bytes" | "floats";
}

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

/**
 * Looks at what a GPU buffer says of itself. That it was destroyed, or belongs to another device, only a submission shows.
 * @returns bytes of an image
 * @throws StylizingError `ARGUMENT`
 */
export function checkGpuImages({ buffer, shape, offset = 0, format }: GpuImages, config: BaseConfig, what: string): number {
  const { image_size: size, in_channels: channels } = config;
  checkName(`format of ${what}`, format, ["bytes", "floats"]);
  const wanted = `This model takes [batch, ${size}, ${size}, ${channels}] there.`;
  const axes = Array.isArray(shape) && shape.length === 4 && Number.isSafeInteger(shape[0]) && shape[0] >= 0;
  if (!axes || shape[1] !== size || shape[2] !== size || shape[3] !== channels)
    refuse(`${what} is a GPU buffer of ${Array.isArray(shape) ? `[${shape.join(", ")}]` : describeValue(shape)}.`, wanted);
  // Not by its class: the caller's device may come from another copy of the binding.
  if (typeof buffer?.size !== "number" || typeof buffer.usage !== "number")
    refuse(`The buffer of ${what} is ${describeValue(buffer)}.`, "Give a GPUBuffer of the model's own device.");
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % 4 !== 0)
    refuse(`The offset of ${what} is ${offset}.`, "Give bytes, a multiple of 4 from 0 on.");
  const bytes = size ** 2 * channels * (format === "bytes" ? 1 : 4);
  if (bytes % 4 !== 0) refuse(`${what}: images of ${bytes} bytes do not start at whole words in a GPU buffer.`, "Use floats.");
  if (offset + shape[0] * bytes > buffer.size)
    refuse(
      `${what} says ${shape[0]} images and its buffer ends before.`,
      `It needs ${shape[0] * bytes} bytes behind its offset.`,
    );
  if ((buffer.usage & BufferUsage.COPY_SRC) === 0)
    refuse(`The buffer of ${what} cannot be copied from.`, "Create it with GPUBufferUsage.COPY_SRC.");
  if (buffer.mapState !== undefined && buffer.mapState !== "unmapped")
    refuse(`The buffer of ${what} is ${buffer.mapState === "pending" ? "being mapped" : "mapped"}.`, "Call its unmap() first.");
  return bytes;
}
