import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import { imageBytes } from "../ops/images.js";
import type { ModelConfig } from "./config.js";
import type { Layout } from "./pack.js";

/** How much of a workspace a schedule needs. */
export interface Needs {
  /** Sequences of tokens: streams × images. */
  sequences: number;
  images: number;
}

/** Bytes of each activation buffer for `needs`; the binding limit of a device applies to each. */
export function workspaceBytes(config: ModelConfig, layout: Layout, elementBytes: number, needs: Needs) {
  const rows = needs.sequences * layout.tokens;
  const image = { images: needs.images, channels: config.in_channels, imageSize: config.image_size };
  return {
    residual: rows * layout.width * 4,
    narrow: rows * Math.max(layout.width, layout.attention, layout.patch) * elementBytes,
    wide: rows * Math.max(3 * layout.attention, layout.hidden, layout.bottleneck) * elementBytes,
    content: imageBytes(image, "floats"),
    style: imageBytes(image, "floats"),
    product: imageBytes(image, "floats"),
    planes: imageBytes(image, "floats"),
    pixels: imageBytes(image, "floats"),
  };
}

type BufferName = keyof ReturnType<typeof workspaceBytes>;

/**
 * The activations of a forward pass, allocated once and used by every schedule. An op's inputs and its output are
 * never the same buffer, since WebGPU does not let a dispatch read and write one through two bindings:
 *
 *   residual  f32   the streams, one slot after another             read and written in place by products that add
 *   narrow    elem  normalised rows, attention results, patches     read by products
 *   wide      elem  query | key | value, hidden rows                read by attention and by products
 */
export class Workspace {
  readonly buffers: Readonly<Record<BufferName, GPUBuffer>>;
  readonly #gpu: Gpu;
  readonly #bytes: Record<BufferName, number>;

  constructor(gpu: Gpu, bytes: Record<BufferName, number>) {
    this.#gpu = gpu;
    this.#bytes = bytes;
    const names = Object.keys(bytes) as BufferName[];
    this.buffers = Object.fromEntries(
      names.map((name) => [
        name,
        gpu.buffer(name, bytes[name], BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST),
      ]),
    ) as Record<BufferName, GPUBuffer>;
  }

  /** Whether everything that `bytes` asks for fits. */
  holds(bytes: Record<BufferName, number>): boolean {
    return (Object.keys(bytes) as BufferName[]).every((name) => bytes[name] <= this.#bytes[name]);
  }

  /** The larger of what is here and of `bytes`, so that schedules of several kinds do not displace one another for ever. */
  grown(bytes: Record<BufferName, number>): Record<BufferName, number> {
    const names = Object.keys(bytes) as BufferName[];
    return Object.fromEntries(names.map((name) => [name, Math.max(bytes[name], this.#bytes[name])])) as Record<
      BufferName,
      number
    >;
  }

  dispose(): void {
    this.#gpu.release(...Object.values(this.buffers));
  }
}
