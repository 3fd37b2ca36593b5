import path from "node:path";
import { StylizingError } from "../errors.js";
import { asLabel } from "./labels.js";
import { type Catalogue, endingOf, IMAGE_ENDINGS, type Part, stemOf } from "./sample.js";
import { listShards, TARS } from "./shards.js";
import { CutShort, tarMembers } from "./tar.js";
import type { LostSample, OpenDataSetOptions, Sample, SampleKey } from "./types.js";
import { Seen } from "./unique.js";

/** Key and ending as WebDataset has them: the name of a file is cut at its first dot. Nothing where it has none. */
function cut(name: string): { key: string; ending: string } | undefined {
  const [, key, ending] = /^((?:.*\/)?[^./]+)\.([^/]*)$/s.exec(name) ?? [];
  return key === undefined ? undefined : { key: key.replace(/^(\.?\/)+/, ""), ending: ending! };
}

/** Members of one key. */
interface Group {
  readonly key: string;
  /** Bytes by ending, where they were wanted. */
  readonly members: Map<string, Buffer | undefined>;
  error?: unknown;
}

/** What is read where images are not: labels, and fields where they are asked for. */
const LABEL = "cls";
const FIELDS = "json";

/**
 * Groups of a shard: members of a key come one after another.
 * @param wanted whether a member's bytes are, by its ending and the number of its group.
 * @returns whether the archive ends as it should.
 */
async function* groupsOf(shard: string, wanted: (ending: string, number: number) => boolean): AsyncGenerator<Group, boolean> {
  let group: Group | undefined;
  let number = 0;
  const members = tarMembers(shard, (file) => {
    const name = cut(file);
    return name !== undefined && wanted(name.ending, group && group.key !== name.key ? number + 1 : number);
  });
  try {
    for (;;) {
      const { value, done } = await members.next();
      if (done) {
        if (group) yield group;
        return value;
      }
      const name = cut(value.path);
      if (!name) continue;
      if (group && group.key !== name.key) {
        yield group;
        group = undefined;
        number++;
      }
      group ??= { key: name.key, members: new Map() };
      if (value.error !== undefined) group.error = value.error;
      group.members.set(name.ending, value.bytes);
    }
  } catch (error) {
    if (!(error instanceof CutShort)) throw error;
    // What the last one lacks cannot be known.
    yield { ...(group ?? { key: `cut short`, members: new Map() }), error };
    return true;
  } finally {
    await members.return(true);
  }
}

/** Endings of images that are called so: `image.png`. */
const NAMED = /^(image|img|input)\./i;

/** The member that is the image. @throws StylizingError `IMAGE` where there is none, or several. */
function imageIn(members: ReadonlyMap<string, unknown>, who: string): string {
  const endings = [...members.keys()];
  const plain = endings.filter((ending) => IMAGE_ENDINGS.has(ending.toLowerCase()));
  const named = endings.filter((ending) => NAMED.test(ending) && IMAGE_ENDINGS.has(endingOf(ending)));
  const images = plain.length > 0 ? plain : named;
  if (images.length === 1) return images[0]!;
  const found = images.length === 0 ? "no image" : "several images";
  const problem = `${who} has ${found} among its members: ${endings.join(", ")}.`;
  throw new StylizingError("IMAGE", problem, "Give each key one PNG, JPEG, WebP or TIFF; masks are called mask.png, seg.png.");
}

/**
 * Images in WebDataset's tar shards: members of one key are an image, a label (`cls`), and what else passes through. A key that
 * several shards have is preceded by its shard's name. The first pass reads the headers of all members.
 * @throws StylizingError `ARGUMENT` where there are no shards, no samples in them, or a key comes twice in one.
 */
export async function openWds(given: string, options: OpenDataSetOptions): Promise<Catalogue> {
  const { onNote, domain, label } = options;
  const shards = await listShards(given, TARS, options.split, "tar shards");
  const counts: number[] = [];
  const endings = new Set<string>();
  const all = new Seen();
  let isShared = false;
  let hasLabels = false;
  for (const shard of shards) {
    const own = new Seen();
    let count = 0;
    const groups = groupsOf(shard, () => false);
    try {
      for (;;) {
        const { value, done } = await groups.next();
        if (done) {
          if (!value) onNote?.(`${shard} has no end: it may be cut short`);
          break;
        }
        if (!own.add(value.key)) {
          const fix = "Write members of one key one after another, and each key once.";
          throw new StylizingError("ARGUMENT", `${shard} has the key ${value.key} twice.`, fix);
        }
        isShared ||= !all.add(value.key);
        hasLabels ||= value.members.has(LABEL);
        for (const ending of value.members.keys()) endings.add(ending);
        count++;
      }
    } finally {
      await groups.return(true);
    }
    counts.push(count);
  }
  const count = counts.reduce((sum, one) => sum + one, 0);
  if (count === 0) throw new StylizingError("ARGUMENT", `There are no samples in ${given}.`, "Give tars of KEY.png and KEY.cls.");
  const inJson = label ?? (hasLabels ? undefined : "label");
  if (!hasLabels && !endings.has(FIELDS)) onNote?.(`no labels: ${given} has no members .${LABEL}`);

  const keyOf = ({ key, members, error }: Group, shard: string): SampleKey & { error?: unknown } => {
    const name = path.basename(shard);
    const source = `${name}/${key}`;
    const own = isShared ? `${name.replace(TARS, "")}/${key}` : key;
    if (error !== undefined) return { key: own, source, error };
    try {
      if (own.split("/").includes("..")) {
        throw new StylizingError("IMAGE", `${source} leads out of the data set.`, "Rename it in the archive.");
      }
      const fields = fieldsIn(members.get(FIELDS), source);
      const text = members.get(LABEL)?.toString().trim();
      const value = text ?? (inJson === undefined ? undefined : fields?.get(inJson));
      const from = domain === undefined ? undefined : (members.get(domain)?.toString().trim() ?? fields?.get(domain));
      if ((hasLabels && text === undefined) || (label !== undefined && value === undefined)) {
        const problem = `${source} has no label: there is no ${label === undefined ? `.${LABEL}` : `"${label}" in its JSON`}.`;
        throw new StylizingError("IMAGE", problem, "Add it, or remove the sample.");
      }
      if (domain !== undefined && from === undefined) {
        const problem = `${source} has no domain: neither a member .${domain} nor a field of its JSON is called so.`;
        throw new StylizingError("IMAGE", problem, "Name another one.");
      }
      return { key: own, source, label: labelIn(value), domain: from === undefined ? undefined : String(from) };
    } catch (error) {
      return { key: own, source, error };
    }
  };
  const small = (ending: string) =>
    ending === LABEL || ending === domain || (ending === FIELDS && (inJson ?? domain) !== undefined);

  // What is neither the label nor alone an image.
  const further = [...endings].filter((ending) => ending !== LABEL && !IMAGE_ENDINGS.has(ending) && !NAMED.test(ending));
  return {
    format: "wds",
    path: given,
    count,
    fields: [],
    parts: further.filter((ending) => IMAGE_ENDINGS.has(endingOf(ending))).map(stemOf),
    others: further.filter((ending) => !IMAGE_ENDINGS.has(endingOf(ending))),
    async *keys(signal) {
      for (const shard of shards) {
        for await (const group of groupsOf(shard, small)) {
          signal?.throwIfAborted();
          const key = keyOf(group, shard);
          try {
            if (key.error === undefined) imageIn(group.members, key.source);
            yield key;
          } catch (error) {
            yield { ...key, error };
          }
        }
      }
    },
    async *samples({ from = 0, signal } = {}): AsyncGenerator<Sample | LostSample> {
      let index = 0;
      for (const [at, shard] of shards.entries()) {
        if (index + counts[at]! <= from) {
          index += counts[at]!;
          continue;
        }
        // Those before the first are passed over without their bytes.
        const before = from - index;
        for await (const group of groupsOf(shard, (_, number) => number >= before)) {
          signal?.throwIfAborted();
          if (index++ < from) continue;
          const key = keyOf(group, shard);
          try {
            if (key.error !== undefined) throw key.error;
            yield sampleOf(key, group.members);
          } catch (error) {
            yield { ...key, error };
          }
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}

function sampleOf(key: SampleKey, members: ReadonlyMap<string, Buffer | undefined>): Sample {
  const image = imageIn(members, key.source);
  const parts = [...members].flatMap(([name, bytes]): Part[] => (name === image ? [] : [{ name, bytes: bytes! }]));
  const ending = endingOf(`.${image}`) || image.toLowerCase();
  const rest = { parts, member: image.slice(0, image.lastIndexOf(".") + 1), fields: fieldsIn(members.get(FIELDS), key.source) };
  return { ...key, image: { bytes: members.get(image)!, ending }, rest };
}

/** @throws StylizingError `IMAGE` where it is no JSON object */
function fieldsIn(json: Buffer | undefined, source: string): ReadonlyMap<string, unknown> | undefined {
  if (json === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(json.toString());
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return new Map(Object.entries(value));
  } catch {}
  throw new StylizingError("IMAGE", `${source}.${FIELDS} is no JSON object.`, "Write one, or call the member something else.");
}

/** A label as it is written there: a whole number, or text. */
const labelIn = (value: unknown): SampleKey["label"] =>
  asLabel(typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value);
