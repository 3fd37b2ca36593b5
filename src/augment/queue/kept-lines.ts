import { randomUUID } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { ensureOutputFolder, writeFileAtomic } from "../../image/atomic-write.js";
import { type ManifestLine, QUEUE_FOLDER } from "../manifest.js";
import { type Shard, shardName } from "./job.js";

const ID = "run";

/** Lines of shards that are done before others in front of them, and the run's own name: in files, so that a run may be gone on with. */
export class KeptLines {
  readonly #folder: string;
  readonly #there: Set<string>;
  readonly id: string;

  private constructor(folder: string, id: string, there: Iterable<string>) {
    this.#folder = folder;
    this.id = id;
    this.#there = new Set(there);
  }

  /** @param anew what is there is of another run. @throws StylizingError `OUTPUT` */
  static async open(out: string, anew: boolean): Promise<KeptLines> {
    const folder = path.join(out, QUEUE_FOLDER);
    if (anew) await rm(folder, { recursive: true, force: true });
    await ensureOutputFolder(folder);
    const known = await KeptLines.idIn(out);
    const id = known ?? randomUUID();
    if (known === undefined) await writeFileAtomic(path.join(folder, ID), id);
    return new KeptLines(folder, id, await readdir(folder));
  }

  /** The name of the run that writes into a folder, where there is one. */
  static idIn(out: string): Promise<string | undefined> {
    return readFile(path.join(out, QUEUE_FOLDER, ID), "utf8").catch(() => undefined);
  }

  #file(shard: Shard): string {
    return `${shardName(shard)}.jsonl`;
  }

  has(shard: Shard): boolean {
    return this.#there.has(this.#file(shard));
  }

  async put(shard: Shard, lines: readonly ManifestLine[]): Promise<void> {
    await writeFileAtomic(path.join(this.#folder, this.#file(shard)), JSON.stringify(lines));
    this.#there.add(this.#file(shard));
  }

  async get(shard: Shard): Promise<ManifestLine[]> {
    return JSON.parse(await readFile(path.join(this.#folder, this.#file(shard)), "utf8")) as ManifestLine[];
  }

  async drop(shard: Shard): Promise<void> {
    this.#there.delete(this.#file(shard));
    await rm(path.join(this.#folder, this.#file(shard)), { force: true });
  }
}
