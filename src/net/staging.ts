import { BufferUsage } from "../gpu/dawn.js";
import type { Gpu } from "../gpu/gpu.js";
import type { Read } from "./run.js";

/** Where the next part begins behind one of so many bytes. */
export const aligned = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** The parts of a mapped buffer, each in its target or in an array of its own: the one copy that is made of them. */
export function copyOut(staging: GPUBuffer, reads: readonly Read[]): Uint8Array[] {
  let at = 0;
  return reads.map(({ bytes, target = new Uint8Array(bytes) }) => {
    target.set(new Uint8Array(staging.getMappedRange(at, aligned(bytes)), 0, bytes));
    at += aligned(bytes);
    return target;
  });
}

/** Buffers that the host maps, used again and again. */
export class StagingRing {
  readonly #gpu: Gpu;
  readonly #free: GPUBuffer[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** A buffer of at least `bytes`. @throws StylizingError `GPU` */
  async take(bytes: number): Promise<GPUBuffer> {
    // The smallest that fits: a run without results must not take the buffer of one that has some.
    const fitting = this.#free.filter((buffer) => buffer.size >= bytes).sort((a, b) => a.size - b.size);
    if (fitting.length > 0) return this.#free.splice(this.#free.indexOf(fitting[0]!), 1)[0]!;
    // All that are free are too small: they would never be used again.
    this.#gpu.release(...this.#free.splice(0));
    const usage = BufferUsage.MAP_READ | BufferUsage.COPY_DST;
    return this.#gpu.checked("a buffer to read results from", () => this.#gpu.buffer("read back", bytes, usage));
  }

  /** Takes a mapped buffer back. */
  giveBack(buffer: GPUBuffer): void {
    buffer.unmap();
    this.#free.push(buffer);
  }

  dispose(): void {
    this.#gpu.release(...this.#free.splice(0));
  }
}
