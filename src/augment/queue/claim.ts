import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { StylizingError } from "../../errors.js";
import { QUEUE_NAME } from "./job.js";

/** Milliseconds that a claim holds without being renewed. */
const HOLDS = 3000;

/** A run is one coordinator's: two would write into one manifest. */
export class Claim {
  readonly #client: Redis;
  readonly #key: string;
  readonly #out: string;
  readonly #own = randomUUID();
  #since = performance.now();
  #isHeld = false;

  constructor(client: Redis, { id, out }: { id: string; out: string }) {
    this.#client = client;
    this.#key = `${QUEUE_NAME}-run:${id}`;
    this.#out = out;
  }

  /**
   * Takes or renews it.
   * @returns false for as long as it may be that of a coordinator which was killed.
   * @throws StylizingError `QUEUE` where it is another's
   */
  async hold(): Promise<boolean> {
    const isNew = (await this.#client.set(this.#key, this.#own, "PX", HOLDS, "NX")) === "OK";
    if (isNew || (await this.#client.get(this.#key)) === this.#own) {
      await this.#client.pexpire(this.#key, HOLDS);
      this.#isHeld = true;
      return true;
    }
    if (!this.#isHeld && performance.now() - this.#since < 1.5 * HOLDS) return false;
    throw new StylizingError(
      "QUEUE",
      `Another \`augment\` is at the run in ${this.#out}.`,
      "One is enough: start `stylizing-vit worker` on further machines.",
    );
  }

  async release(): Promise<void> {
    if (this.#isHeld && (await this.#client.get(this.#key)) === this.#own) await this.#client.del(this.#key);
  }
}
