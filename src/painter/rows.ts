/** Rows of numbers that come at the bottom and go at the top. */
export class Rows<Data extends Uint8Array | Float32Array> {
  readonly stride: number;
  readonly #make: new (
    length: number,
  ) => Data;
  #data: Data;
  #first = 0;
  #end = 0;

  /** @param most rows that it has room for; with more it grows. */
  constructor(make: new (length: number) => Data, stride: number, most = 0) {
    this.#make = make;
    this.stride = stride;
    this.#data = new make(most * stride);
  }

  /** Row behind the last. */
  get end(): number {
    return this.#end;
  }

  /** Adds rows of zeros up to `end`. */
  extend(end: number): void {
    if (end <= this.#end) return;
    const length = (end - this.#first) * this.stride;
    if (length > this.#data.length) {
      const grown = new this.#make(length);
      grown.set(this.#data.subarray(0, (this.#end - this.#first) * this.stride));
      this.#data = grown;
    } else this.#data.fill(0, (this.#end - this.#first) * this.stride, length);
    this.#end = end;
  }

  /** Forgets the rows before `first`. */
  drop(first: number): void {
    if (first <= this.#first) return;
    this.#data.copyWithin(0, (first - this.#first) * this.stride, (this.#end - this.#first) * this.stride);
    this.#first = first;
    this.#end = Math.max(this.#end, first);
  }

  /** A row, where it lies. */
  row(at: number): Data {
    return this.slice(at, at + 1);
  }

  /** Rows [from, to), where they lie: until the next change. */
  slice(from: number, to: number): Data {
    if (from < this.#first || to > this.#end)
      throw new RangeError(`rows ${from} to ${to} of ${this.#first} to ${this.#end} are asked for`);
    return this.#data.subarray((from - this.#first) * this.stride, (to - this.#first) * this.stride) as Data;
  }
}
