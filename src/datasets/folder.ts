import { readdir } from "node:fs/promises";
import path from "node:path";
import { StylizingError } from "../errors.js";
import { listImages, someOf, tellingLeftOut } from "../image/folder.js";
import { resultNames } from "../image/result-names.js";
import { Masks, partName } from "./masks.js";
import { type Catalogue, endingOf, readPart, stemOf } from "./sample.js";
import type { LostSample, OpenDataSetOptions, Sample, SampleKey } from "./types.js";

/** Takes all splits for one. */
export const ALL = "all";

/** The folder of a split below a data set: the one that is asked for, or `train` where there is one. @throws StylizingError `ARGUMENT` */
export async function splitFolder(root: string, split: string | undefined): Promise<string | undefined> {
  if (split === ALL) return undefined;
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  const folders = entries.filter((entry) => !entry.isFile()).map(({ name }) => name);
  if (folders.includes(split ?? "train")) return split ?? "train";
  if (split === undefined) return undefined;
  const found = folders.length > 0 ? `its folders are ${someOf(folders.sort(), 6)}` : "it has no folders";
  throw new StylizingError("ARGUMENT", `${root} has no split ${split}: ${found}.`, `Name one of them, or "${ALL}".`);
}

interface Listed {
  path: string;
  /** Below the data set. */
  name: string;
}

/**
 * Images in a folder for each class, at any depth. The class is the first folder below the data set (or below its split); where a
 * folder's number says the domain, the last other folder above the file. A key is the path without its ending, or with it
 * where two would be one.
 * @throws StylizingError `ARGUMENT` where there is no image, some lie outside the folders of classes, or an image is in no folder of that number.
 */
export async function openFolder(root: string, options: OpenDataSetOptions): Promise<Catalogue> {
  const { onNote, except } = options;
  const split = await splitFolder(root, options.split);
  const found = await tellingLeftOut(onNote, (leftOut) => listImages(path.join(root, split ?? ""), { except, leftOut }));
  const masks = new Masks(options.maskSuffix);
  const images = new Set(found.map(({ name }) => stemOf(name)));
  const isMask = (name: string) => stemOf(name).endsWith(masks.suffix);
  const files = found.filter(({ name }) => !isMask(name));
  const alone = found.filter(({ name }) => isMask(name) && !images.has(stemOf(name).slice(0, -masks.suffix.length)));
  if (alone.length > 0) onNote?.(`left out: masks without an image: ${someOf(alone.map(({ name }) => name))}`);
  if (files.length === 0) {
    const fix = "Give a folder that holds a folder for each class, with PNG, JPEG, WebP, TIFF, GIF or AVIF files.";
    throw new StylizingError("ARGUMENT", `There are no images in ${path.join(root, split ?? "")}.`, fix);
  }
  if (split !== undefined) onNote?.(`read: the folder ${split} of ${root} alone`);

  const level = options.domain === undefined ? undefined : levelOf(options.domain);
  const outside = files.filter(({ name }) => !name.includes("/"));
  if (outside.length > 0 && outside.length < files.length) {
    const fix = "Move it into the folder of its class, or name labels in a CSV file.";
    throw new StylizingError("ARGUMENT", `${outside[0]!.path} lies outside the folders of classes: it has no label.`, fix);
  }
  if (outside.length > 0) onNote?.(`no labels: the images of ${root} lie in no folder of a class`);
  const shallow = level === undefined ? undefined : files.find(({ name }) => name.split("/").length <= level);
  if (shallow) {
    const fix = "Domains are folders that all images lie in, counted from 1 below the data set.";
    throw new StylizingError("ARGUMENT", `${shallow.path} lies in no folder number ${level}.`, fix);
  }
  const inSplit = split === undefined ? files : files.map((file) => ({ ...file, name: `${split}/${file.name}` }));
  const parts = found.length > files.length + alone.length ? [partName(masks.suffix)] : [];
  return listed({ root, files: inSplit, above: split === undefined ? 0 : 1, level, masks, parts });
}

function levelOf(domain: string): number {
  const level = Number(domain);
  if (Number.isInteger(level) && level > 0) return level;
  const fix = "Say which folder below the data set is the domain: 1 is the first.";
  throw new StylizingError("ARGUMENT", `Of folders a domain is a number, and this is "${domain}".`, fix);
}

/** What is known of the files of a folder. */
interface Listing {
  root: string;
  files: readonly Listed[];
  /** Folders above those that are counted: the split's. */
  above: number;
  /** Which folder is the domain. */
  level: number | undefined;
  masks: Masks;
  parts: readonly string[];
}

function listed({ root, files, above, level, masks, parts }: Listing): Catalogue {
  const names = resultNames(files.map(({ name }) => name));
  const keyOf = (index: number): SampleKey => {
    const source = files[index]!.name;
    const folders = source.split("/").slice(above, -1);
    const label = level === undefined ? folders[0] : folders.findLast((_, i) => i !== level - 1);
    return { key: names[index]!, source, domain: level === undefined ? undefined : folders[level - 1], label };
  };
  return {
    format: "folder",
    path: root,
    count: files.length,
    fields: [],
    parts,
    async *keys(signal) {
      for (let index = 0; index < files.length; index++) {
        signal?.throwIfAborted();
        yield keyOf(index);
      }
    },
    async *samples({ from = 0, signal } = {}): AsyncGenerator<Sample | LostSample> {
      for (let index = from; index < files.length; index++) {
        signal?.throwIfAborted();
        const key = keyOf(index);
        const { path: file, name } = files[index]!;
        try {
          const bytes = await readPart(file, key.source, "Put it back, or start again without it.");
          yield { ...key, image: { bytes, ending: endingOf(name) }, rest: { parts: await masks.of(file) } };
        } catch (error) {
          yield { ...key, error };
        }
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}
