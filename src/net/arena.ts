import type { Gpu } from "../gpu/gpu.js";
import { type View, view } from "../gpu/view.js";

/** Bytes by name. */
export type Needs = ReadonlyMap<string, number>;

/**
 * The activations of a model's programs: buffers by name, allocated once and used by every program. An op's inputs and its output
 * are never the same buffer, since WebGPU does not let a dispatch read and write one through two bindings.
 */
export class Arena {
  readonly #gpu: Gpu;
  readonly #rowsBehind: number;
  readonly #buffers = new Map<string, GPUBuffer>();
  readonly #bytes = new Map<string, number>();

  /** @param rowsBehind rows behind every matrix of elements that nothing writes: zeros, for GEMMs whose depth is rounded up. */
  constructor(gpu: Gpu, rowsBehind = 0) {
    this.#gpu = gpu;
    this.#rowsBehind = rowsBehind;
  }

  bytesOf(rows: number, cols: number, type: View["type"]): number {
    return type === "f32" ? 4 * rows * cols : (rows + this.#rowsBehind) * cols * this.#gpu.profile.elementBytes;
  }

  /** Whether everything that is needed is there. */
  holds(needs: Needs): boolean {
    return [...needs].every(([name, bytes]) => bytes <= (this.#bytes.get(name) ?? -1));
  }

  /**
   * Makes room: what is too small is allocated anew, and what was bound to it is bound to nothing. Where that fails nothing is left.
   * @throws StylizingError `GPU` where a buffer exceeds a limit; memory that runs out shows in `Gpu.checked`
   */
  grow(needs: Needs): void {
    try {
      for (const [name, bytes] of needs) {
        if (bytes <= (this.#bytes.get(name) ?? -1)) continue;
        const old = this.#buffers.get(name);
        if (old) this.#gpu.release(old);
        this.#buffers.delete(name);
        this.#buffers.set(name, this.#gpu.storage(name, bytes));
        this.#bytes.set(name, bytes);
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** @throws RangeError where there is less of it than is asked for: the program that asks was not measured. */
  take(name: string, rows: number, cols: number, type: View["type"]): View {
    const buffer = this.#buffers.get(name);
    const bytes = this.bytesOf(rows, cols, type);
    if (!buffer || bytes > this.#bytes.get(name)!)
      throw new RangeError(`${name} has ${this.#bytes.get(name) ?? 0} bytes, and ${bytes} are asked for`);
    return view(buffer, type, rows, cols);
  }

  /** A buffer by name, for uploads and for reading back. */
  buffer(name: string): GPUBuffer {
    const buffer = this.#buffers.get(name);
    if (!buffer) throw new RangeError(`there is no ${name}`);
    return buffer;
  }

  dispose(): void {
    this.#gpu.release(...this.#buffers.values());
    this.#buffers.clear();
    this.#bytes.clear();
  }
}
