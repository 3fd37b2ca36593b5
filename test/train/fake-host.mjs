// A device's side that runs nowhere: its numbers depend on every byte of every batch in order, on the learning rate and on
// the moments, so that a run that was resumed wrongly in any of them cannot end with the same ones. Plain JavaScript: a child
// process of the tests runs it.

const TERMS = ["identity", "consistency", "anatomical", "style"];
const { fround } = Math;

/** A number in [0, 1) that depends on every byte and its place. */
function digest(bytes) {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 8) / 2 ** 24;
}

function lossesOf(parameters, bytes) {
  const mean = bytes.reduce((sum, byte) => sum + byte, 0) / bytes.length / 255;
  const cls = parameters.get("encoder.cls_token");
  const apart = cls.reduce((sum, value) => sum + (value - mean) ** 2, 0) / cls.length;
  return Object.fromEntries(TERMS.map((term, i) => [term, fround((apart + 0.01 + digest(bytes) / 1000) / (i + 1))]));
}

class FakeEngine {
  #options;
  #faults;
  #step = 0;
  #parameters;
  #first = new Map();
  #second = new Map();
  #since = [];
  #broken;
  #disposed = false;

  constructor(config, options, faults) {
    this.config = config;
    this.batch = options.batch;
    this.microBatch = options.microBatch ?? options.batch;
    this.bytes = 1000;
    this.#options = options;
    this.#faults = faults;
    this.#parameters = new Map([...options.initial].map(([key, values]) => [key, values.slice()]));
    for (const [key, values] of this.#parameters) {
      this.#first.set(key, new Float32Array(values.length));
      this.#second.set(key, new Float32Array(values.length));
    }
  }

  #alive() {
    if (this.#disposed) throw new Error("The engine was disposed of.");
  }

  async step(images, learningRate) {
    this.#alive();
    if (this.#faults.delay) await new Promise((resolve) => setTimeout(resolve, this.#faults.delay));
    const side = this.config.image_size;
    if (images.length !== this.batch * side * side * this.config.in_channels) throw new Error("a batch of another size");
    this.#step++;
    if (this.#faults.loseAt?.includes(this.#faults.done)) {
      this.#faults.lost = true;
      this.#faults.done++;
      throw this.#faults.loss;
    }
    this.#faults.done++;
    if (this.#step >= (this.#faults.breakAt ?? Number.POSITIVE_INFINITY)) this.#broken ??= this.#step;
    this.#since.push(lossesOf(this.#parameters, images));
    if (this.#broken !== undefined) return;
    const gradient = digest(images) - 0.5;
    for (const [key, values] of this.#parameters) {
      const [first, second] = [this.#first.get(key), this.#second.get(key)];
      for (let i = 0; i < Math.min(values.length, 50); i++) {
        const g = gradient * this.#options.clip + values[i] - 0.5;
        first[i] = 0.9 * first[i] + 0.1 * g;
        second[i] = 0.999 * second[i] + 0.001 * g * g;
        values[i] -= learningRate * (first[i] / (Math.sqrt(second[i]) + 1e-8) + this.#options.weightDecay * values[i]);
      }
    }
  }

  async report() {
    this.#alive();
    const steps = this.#since.length;
    const sums = Object.fromEntries(TERMS.map((term) => [term, this.#since.reduce((sum, losses) => sum + losses[term], 0)]));
    const losses = Object.fromEntries(TERMS.map((term) => [term, sums[term] / steps]));
    const last = this.#since.at(-1);
    this.#since = [];
    return {
      step: this.#step,
      losses: last,
      gradientNorm: fround(last.style * 3),
      mean: { steps, losses, sums },
      brokenAt: this.#broken,
    };
  }

  async evaluate(images) {
    this.#alive();
    const each = this.config.image_size ** 2 * this.config.in_channels;
    const rolled = new Uint8Array([...images.subarray(each), ...images.subarray(0, each)]);
    const shade = Math.round(20 * Math.abs(this.#parameters.get("encoder.cls_token")[0]));
    return {
      losses: this.#faults.poison
        ? { ...lossesOf(this.#parameters, images), style: Number.NaN }
        : lossesOf(this.#parameters, images),
      outputs: {
        stylized: images.map((value, i) => (value + rolled[i]) >> 1),
        reconstruction: images.map((value) => Math.max(0, value - shade)),
      },
    };
  }

  async readState() {
    this.#alive();
    const copy = (map) => new Map([...map].map(([key, values]) => [key, values.slice()]));
    return {
      step: this.#step,
      parameters: copy(this.#parameters),
      firstMoments: copy(this.#first),
      secondMoments: copy(this.#second),
    };
  }

  async writeState({ step, parameters, firstMoments, secondMoments }) {
    this.#alive();
    this.#step = step;
    for (const [own, given] of [
      [this.#parameters, parameters],
      [this.#first, firstMoments],
      [this.#second, secondMoments],
    ])
      for (const [key, values] of given) own.set(key, values.slice());
    this.#since = [];
    this.#broken = undefined;
  }

  async [Symbol.asyncDispose]() {
    this.#disposed = true;
  }
}

/** @param faults see the types beside this file */
export function fakeHost(faults = {}) {
  faults.done ??= 0;
  faults.opened ??= 0;
  return async () => {
    faults.opened++;
    faults.lost = false;
    return {
      adapter: { name: "fake", software: true },
      tier: "f32",
      get isLost() {
        return faults.lost;
      },
      createEngine: async (config, options) => new FakeEngine(config, options, faults),
      [Symbol.asyncDispose]: async () => {},
    };
  };
}
