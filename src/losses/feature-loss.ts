import type { View } from "../gpu/view.js";
import type { Recorder } from "../net/recorder.js";
import { type Layer, Tape } from "../net/tape.js";
import { mapsToPlanes, planesToMaps } from "../ops/features.js";

/** A frozen network whose levels are compared. */
export interface FeatureNetwork {
  readonly levels: readonly { side: number; channels: number }[];
  /** Where its images go. */
  input(r: Recorder, images: number): View;
  /** Runs it; `gradients` are what a loss leaves at the levels, `dx` where the gradient of the images will be. */
  run(
    tape: Tape,
    images: number,
    name: string,
    gradients: { targets: readonly View[]; coefficients: readonly View[] },
  ): { levels: readonly View[]; dx: View };
  /** Its levels alone, kept by that name. */
  features(r: Recorder, images: number, name: string): View[];
}

export interface FeatureLossWhere {
  images: number;
  channels: number;
  imageSize: number;
  /** [images, C, S, S] f32, normalised. */
  planes: View;
  /** By level. */
  targets: readonly View[];
  coefficients: readonly View[];
  /** Emits the loss of a level of features: partial sums, and coefficients. */
  compare(level: number, features: View): void;
  /** Where the gradient of the planes goes; without it there is no backward pass. */
  gradient?: { planes: View; accumulate: boolean } | undefined;
}

/** Copies planes to where a network looks. */
export function showImages(
  r: Recorder,
  network: FeatureNetwork,
  { images, channels, imageSize: side, planes }: Pick<FeatureLossWhere, "images" | "channels" | "imageSize" | "planes">,
): void {
  r.emit(planesToMaps, { images, side, channels, planes, maps: network.input(r, images) });
}

/**
 * A loss between feature maps. It ends the graph: the network's activations serve several losses of a batch, so its backward
 * pass follows at once, and the gradient is written where it stands.
 */
export class FeatureLoss implements Layer<FeatureLossWhere> {
  readonly #network: FeatureNetwork;

  constructor(network: FeatureNetwork) {
    this.#network = network;
  }

  forward(r: Recorder, where: FeatureLossWhere): void {
    const { images, channels, imageSize: side, targets, coefficients, gradient } = where;
    r.section("features", () => {
      showImages(r, this.#network, where);
      const tape = new Tape(r);
      const { levels, dx } = this.#network.run(tape, images, "level", { targets, coefficients });
      for (const [level, features] of levels.entries()) where.compare(level, features);
      if (!gradient) return;
      tape.backward();
      const { planes, accumulate } = gradient;
      r.emit(mapsToPlanes, { images, side, channels, maps: dx, planes, accumulate });
    });
  }
}
