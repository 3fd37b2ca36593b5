import type { Recorder } from "./recorder.js";

/**
 * A fusion boundary: the smallest thing with a forward pass and a hand-written backward pass. It owns weights, never activations:
 * `where` names those, and says of every gradient whether it is written or added to, since a matrix may have two readers.
 */
export interface Layer<Where> {
  forward(recorder: Recorder, where: Where): void;
  /** In front of `backward`, under activation checkpointing: what `backward` and later layers read, and no more. Default: `forward`. */
  again?(recorder: Recorder, where: Where): void;
  /** Adds to the gradients of its parameters; writes or adds to those of its inputs. A layer that has none ends the graph. */
  backward?(recorder: Recorder, where: Where): void;
}

/** Layers that were run, and how to undo them. */
interface Entry {
  again(): void;
  backward(): void;
}

/** Records layers forward and remembers them, so that the order of the backward pass is nobody's code. */
export class Tape {
  readonly recorder: Recorder;
  #entries: Entry[] = [];

  constructor(recorder: Recorder) {
    this.recorder = recorder;
  }

  run<Where>(layer: Layer<Where>, where: Where): void {
    layer.forward(this.recorder, where);
    this.#entries.push({
      again: () => (layer.again ? layer.again(this.recorder, where) : layer.forward(this.recorder, where)),
      backward: () => layer.backward?.(this.recorder, where),
    });
  }

  /** Activation checkpointing: what the layers of `body` keep is recomputed in front of their backward passes. */
  checkpoint(body: () => void): void {
    const outer = this.#entries;
    this.#entries = [];
    let inner: Entry[];
    try {
      body();
    } finally {
      inner = this.#entries;
      this.#entries = outer;
    }
    const again = () => {
      for (const entry of inner) entry.again();
    };
    this.#entries.push({
      again,
      backward: () => {
        again();
        for (const entry of inner.toReversed()) entry.backward();
      },
    });
  }

  /** The backward passes of all layers, in reverse order. */
  backward(): void {
    for (const entry of this.#entries.toReversed()) entry.backward();
  }
}
