/** Takes what a stream gives in pieces of other sizes. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);
  /** Bytes that were taken or passed over. */
  position = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes; fewer where the stream ends before. Valid until it is asked again, or a copy. @throws what the stream throws. */
  async take(count: number): Promise<Buffer> {
    if (this.#held.length < count) {
      const parts = [this.#held];
      let have = this.#held.length;
      while (have < count) {
        const { value, done } = await this.#source.next();
        if (done) break;
        parts.push(value);
        have += value.length;
      }
      this.#held = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    }
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(taken.length);
    this.position += taken.length;
    return Buffer.from(taken.buffer, taken.byteOffset, taken.length);
  }

  /** Passes over bytes. @returns how many there were. */
  async skip(count: number): Promise<number> {
    let left = count;
    while (left > 0) {
      if (this.#held.length === 0) {
        const { value, done } = await this.#source.next();
        if (done) break;
        this.#held = value;
      }
      const some = Math.min(left, this.#held.length);
      this.#held = this.#held.subarray(some);
      this.position += some;
      left -= some;
    }
    return count - left;
  }

  /** Ends the stream. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
