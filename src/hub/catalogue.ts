import { StylizingError } from "../errors.js";

/** One number per channel: red, green, blue. */
export type Rgb = readonly [number, number, number];

/** A published checkpoint. */
export interface CatalogueEntry {
  /** `<preset>/<dataset>`, the name users type. */
  readonly name: string;
  /** Repository on the Hugging Face Hub. */
  readonly repo: string;
  readonly preset: "tiny" | "small" | "base";
  readonly dataset: string;
  /** Channel means of the training images in [0, 1]; undefined where none was published. */
  readonly mean: Rgb | undefined;
  /** Channel standard deviations, as `mean`. */
  readonly std: Rgb | undefined;
}

const DATASETS: Record<string, { mean: Rgb; std: Rgb } | undefined> = {
  camelyon17wilds: { mean: [0.744, 0.5895, 0.7214], std: [0.1787, 0.2131, 0.1721] },
  epistr: { mean: [0.736, 0.5158, 0.8072], std: [0.1948, 0.2434, 0.1438] },
  fitzpatrick17k_12_34_56: { mean: [0.6219, 0.4917, 0.4478], std: [0.2279, 0.1982, 0.1991] },
  fitzpatrick17k_65_43_21: undefined,
  ddi_12_34_56: undefined,
  ddi_65_43_21: undefined,
  cholec80: undefined,
};

const CATALOGUE: readonly CatalogueEntry[] = (["tiny", "small", "base"] as const).flatMap((preset) =>
  Object.entries(DATASETS).map(([dataset, published]) => ({
    name: `${preset}/${dataset}`,
    repo: `sdoerrich97/stylizing_vit_${preset}_${dataset}`,
    preset,
    dataset,
    mean: published?.mean,
    std: published?.std,
  })),
);

/** The published checkpoints, smallest preset first. */
export function listModels(): readonly CatalogueEntry[] {
  return CATALOGUE;
}

/**
 * The checkpoint that a name means: `base/camelyon17wilds` or the repository `sdoerrich97/stylizing_vit_base_camelyon17wilds`,
 * either with `@revision` behind it (a branch, a tag or a commit).
 * @throws StylizingError `ARGUMENT` for any other name, with the nearest known ones
 */
export function resolveModelName(name: string): { entry: CatalogueEntry; revision: string | undefined } {
  const at = name.indexOf("@");
  const wanted = at < 0 ? name : name.slice(0, at);
  const revision = at < 0 ? undefined : name.slice(at + 1);
  if (revision === "") {
    throw new StylizingError("ARGUMENT", `"${name}" ends in @ without a revision.`, `Write ${wanted} or ${wanted}@main.`);
  }
  const entry = CATALOGUE.find((e) => e.name === wanted || e.repo === wanted);
  if (entry === undefined) {
    const typed = wanted.slice(0, 80).toLowerCase();
    const near = CATALOGUE.map((e) => ({
      name: e.name,
      distance: Math.min(editDistance(typed, e.name), editDistance(typed, e.repo)),
    }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, 3)
      .map((e) => e.name);
    throw new StylizingError(
      "ARGUMENT",
      `There is no published model "${wanted}".`,
      `Nearest names: ${near.join(", ")}. \`stylizing-vit models\` lists all of them.`,
    );
  }
  return { entry, revision };
}

/** Insertions, deletions and substitutions between two short strings. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
