import { StylizingError } from "../errors.js";
import { byCodeUnits } from "../image/folder.js";
import { fnv1a, permutation } from "../random.js";
import type { LabelledFile } from "./labels.js";

/** What stays together: the images of one group, or one image. */
interface Unit<File> {
  files: File[];
  /** Images by class; classes without are left out. */
  counts: Map<number, number>;
}

interface ClassTotal {
  images: number;
  units: number;
  /** Images that validation should have. */
  target: number;
}

/** Orders in which groups are dealt out, at most. One may end where no single group can better it, beside a far better one. */
const ATTEMPTS = 40;

/**
 * Divides labelled images into those to train with and those to validate with: the same portion of every class, and at least one
 * image of every class on both sides. Where images have groups, a group is on one side as a whole, and portions are as near as groups
 * allow: groups are dealt out in a seeded order, then single ones change sides as long as that brings the portions nearer; the best of
 * several orders is taken, or the first that is within one image of the portion in every class. An image without a group is one for
 * itself.
 *
 * A pure function of the names, labels and groups, the portion and the seed: the order of the files does not count.
 * @param portion of images for validation, above 0 and below 1
 * @returns both sides by name.
 * @throws StylizingError `ARGUMENT` where the portion is out of range, or a class cannot be on both sides.
 */
export function splitStratified<File extends Pick<LabelledFile, "name" | "label" | "group">>(
  files: readonly File[],
  portion: number,
  seed: number,
): { training: File[]; validation: File[] } {
  if (!(portion > 0 && portion < 1)) {
    throw new StylizingError("ARGUMENT", `The portion for validation is ${portion}.`, "Give a number above 0 and below 1.");
  }
  const sorted = files.toSorted((a, b) => byCodeUnits(a.name, b.name));
  const units = unitsOf(sorted);
  const totals = totalsOf(units, portion);
  const near = [...totals.values()].reduce((sum, { images }) => sum + images ** -2, 0);
  let best: Dealt<File> | undefined;
  for (let attempt = 0; attempt < ATTEMPTS && !(best && best.cost <= near); attempt++) {
    const dealt = deal(units, totals, permutation(units.length, seed, fnv1a("split"), attempt), attempt % 2 === 1);
    if (!best || dealt.cost < best.cost) best = dealt;
  }
  if (best && !best.missing) {
    const inValidation = new Set(best.validation.flatMap(({ files }) => files));
    return {
      training: sorted.filter((file) => !inValidation.has(file)),
      validation: sorted.filter((file) => inValidation.has(file)),
    };
  }
  throw new StylizingError(
    "ARGUMENT",
    `No way was found to divide ${units.length} groups so that every class is on both sides.`,
    "Use smaller groups, or give images to validate with in a folder or file of their own.",
  );
}

function unitsOf<File extends Pick<LabelledFile, "label" | "group">>(files: readonly File[]): Unit<File>[] {
  const groups = new Map<string, Unit<File>>();
  const units: Unit<File>[] = [];
  for (const file of files) {
    let unit = file.group === undefined ? undefined : groups.get(file.group);
    if (!unit) {
      unit = { files: [], counts: new Map() };
      units.push(unit);
      if (file.group !== undefined) groups.set(file.group, unit);
    }
    unit.files.push(file);
    unit.counts.set(file.label, (unit.counts.get(file.label) ?? 0) + 1);
  }
  return units;
}

function totalsOf(units: readonly Unit<{ name: string }>[], portion: number): Map<number, ClassTotal> {
  const totals = new Map<number, ClassTotal>();
  for (const { counts } of units) {
    for (const [label, count] of counts) {
      const total = totals.get(label) ?? { images: 0, units: 0, target: 0 };
      total.images += count;
      total.units++;
      totals.set(label, total);
    }
  }
  for (const [label, total] of totals) {
    const { images } = total;
    if (total.units < 2) {
      const { name } = units.find(({ counts }) => counts.has(label))!.files[0]!;
      const problem = `The class of ${name} has ${images === 1 ? "one image" : "images of one group"} only, and cannot be on both sides.`;
      const more = images === 1 ? "images" : "images of another group";
      throw new StylizingError("ARGUMENT", problem, `Give ${more} of this class, or leave it out.`);
    }
    total.target = Math.round(portion * images);
  }
  return totals;
}

interface Dealt<File> {
  validation: Unit<File>[];
  cost: number;
  /** Whether a class is missing on a side. */
  missing: boolean;
}

/**
 * Chooses units for validation. What is made small is the sum over classes of ((images in validation − target) / images)², and above
 * all the number of classes that are missing on a side. That number counts from the first unit on where `strict`; otherwise only when
 * all have been dealt out, so that a large group does not come in first, for want of another, and can never leave.
 */
function deal<File>(
  units: readonly Unit<File>[],
  totals: ReadonlyMap<number, ClassTotal>,
  order: Uint32Array,
  strict: boolean,
): Dealt<File> {
  const has = new Map(Array.from(totals.keys(), (label) => [label, 0]));
  const isIn = new Uint8Array(units.length);
  let penalty = strict ? totals.size : 0;
  const cost = (label: number, count: number): number => {
    const { images, target } = totals.get(label)!;
    return ((count - target) / images) ** 2 + (count === 0 || count === images ? penalty : 0);
  };
  /** What it costs to let a unit change sides; below zero where it is worth it. */
  const change = (index: number): number => {
    let sum = 0;
    for (const [label, count] of units[index]!.counts) {
      const now = has.get(label)!;
      sum += cost(label, now + (isIn[index] ? -count : count)) - cost(label, now);
    }
    return sum;
  };
  const move = (index: number): void => {
    for (const [label, count] of units[index]!.counts) has.set(label, has.get(label)! + (isIn[index] ? -count : count));
    isIn[index] = isIn[index] ? 0 : 1;
  };

  for (const index of order) if (change(index) < 0) move(index);
  penalty = totals.size;
  for (;;) {
    let [best, least] = [-1, -1e-12];
    for (const index of order) {
      const value = change(index);
      if (value < least) [best, least] = [index, value];
    }
    if (best < 0) break;
    move(best);
  }
  const total = [...has].reduce((sum, [label, count]) => sum + cost(label, count), 0);
  const missing = [...has].some(([label, count]) => count === 0 || count === totals.get(label)!.images);
  return { validation: units.filter((_, index) => isIn[index]), cost: total, missing };
}
