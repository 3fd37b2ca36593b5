import { StylizingError } from "../../errors.js";
import { byCodeUnits, type LeftOut, tellingLeftOut } from "../../image/folder.js";
import { classCounts, inverseFrequencyWeights } from "../../labels/class-weights.js";
import { type LabelledFile, type LabelledSet, labelsOfFolders, labelsOfTable } from "../../labels/labels.js";
import { splitStratified } from "../../labels/split.js";
import { askedConfig, findModelOf, firstConfig } from "../open.js";
import type { DataOptions, OpenTask, TaskData, TaskKind } from "../task.js";
import { adaptWeights } from "./adapt.js";
import type { VitConfig } from "./config.js";
import { ClassJudge } from "./judge.js";
import { vit } from "./kind.js";
import { type DecayRule, vitParameters, vitShapes } from "./parameters.js";
import { VitTask } from "./task.js";

/** What a run of this task can be told beside what every run can. */
export interface ClassifyingOptions {
  /** DeiT's size; `deit-tiny` where neither this, `config` nor `init` is given. */
  preset?: string | undefined;
  /** A configuration, or the path of a JSON file that holds one; its number of classes is the data's. */
  config?: VitConfig | string | undefined;
  /** A classifier whose weights are the first ones: a repository of the Hub, a folder or a `.safetensors` file. */
  init?: string | undefined;
  /** Side of the images as the model sees them, in pixels, instead of the configuration's: positions are resized. */
  imageSize?: number | undefined;
  /** A CSV file with the columns `path` and `label`, instead of a folder for each class; paths are relative to `data`, or to itself. */
  labels?: string | undefined;
  /** The column of it that names what belongs together, such as a patient: never on both sides of a split. */
  group?: string | undefined;
  /** Share of the images to validate with, where `val` is not given: the same of every class. */
  valPortion?: number | undefined;
  /** Of the loss: what is spread evenly over all classes, and a weight a class; `balanced`: by what is rare. */
  labelSmoothing?: number | undefined;
  classWeights?: readonly number[] | "balanced" | undefined;
  /** Default `adam`, whose decay is an L2 term, as medical_transformers fine-tunes; `adamw` as DeiT trains. */
  optimizer?: "adam" | "adamw" | undefined;
  /** Which tensors decay: `matrices` (the default), `timm` (neither CLS nor positions) or `all`. */
  decay?: DecayRule | undefined;
  /** Steps of linear warm-up, at most a tenth of all (default 500), and where the cosine behind them ends (default 1e-6). */
  warmup?: number | undefined;
  minLr?: number | undefined;
  /** Rate of stochastic depth in the last block; it grows from 0 in the first. Default 0. */
  dropPath?: number | undefined;
  /** What chooses the best epoch: `balancedAccuracy` (the default), `accuracy`, `macroRecall`, `kappa`, `auc` or `loss`. */
  best?: string | undefined;
  signal?: AbortSignal | undefined;
}

function refuse(problem: string, fix: string): never {
  throw new StylizingError("ARGUMENT", problem, fix);
}

/** One set of several, whose classes are those of all, or of `known`. @throws StylizingError `ARGUMENT` for a class that is not known */
function joined(sets: readonly LabelledSet[], known?: readonly string[]): LabelledSet {
  const classes = known ?? [...new Set(sets.flatMap((set) => set.classes))].sort(byCodeUnits);
  const files = sets.flatMap((set) =>
    set.files.map((file) => {
      const label = classes.indexOf(set.classes[file.label]!);
      if (label < 0)
        refuse(
          `The validation images have the class ${set.classes[file.label]}, of which there is no training image.`,
          `Training has ${classes.slice(0, 10).join(", ")}${classes.length > 10 ? " and more" : ""}: name classes alike on both sides.`,
        );
      return { ...file, label };
    }),
  );
  return { classes: [...classes], files };
}

/** A folder with a folder for each class, or a CSV file. */
const labelled = (path: string, out: string, group: string | undefined, leftOut: LeftOut): Promise<LabelledSet> =>
  /\.csv$/i.test(path) ? labelsOfTable(path, { group }) : labelsOfFolders(path, { except: out, leftOut });

async function trainingSet(
  { data, labels, group, out }: ClassifyingOptions & DataOptions,
  leftOut: LeftOut,
): Promise<LabelledSet> {
  if (labels !== undefined) {
    if (data.length > 1) refuse(`--data names ${data.length} folders, and --labels is one file.`, "Give one folder, or none.");
    return labelsOfTable(labels, { folder: data[0], group });
  }
  if (data.length === 0)
    refuse("There are no training images.", "Give --data a folder with a folder for each class, or --labels a CSV file.");
  if (group !== undefined && !data.every((path) => /\.csv$/i.test(path)))
    refuse("--group names a column, and labels are told by folders.", "Give --labels a CSV file with that column.");
  return joined(await Promise.all(data.map((path) => labelled(path, out, group, leftOut))));
}

const withoutGroup = ({ path, name, label }: LabelledFile) => ({ path, name, label });

async function listData(options: ClassifyingOptions & DataOptions, seed: number, leftOut: LeftOut): Promise<TaskData<VitConfig>> {
  const { val, valPortion, out, classWeights } = options;
  const { classes, files } = await trainingSet(options, leftOut);
  let [training, validation]: LabelledFile[][] = [files, []];
  if (val.length > 0) {
    if (valPortion !== undefined) refuse("Both --val and --val-portion are given.", "Give one of them.");
    validation = joined(await Promise.all(val.map((path) => labelled(path, out, undefined, leftOut))), classes).files;
  } else if (valPortion === undefined)
    refuse(
      "There are no validation images, which choose the best epoch.",
      "Give --val, or --val-portion .2 of the training images.",
    );
  else ({ training, validation } = splitStratified(files, valPortion, seed));
  const weights = classWeights === "balanced" ? inverseFrequencyWeights(classCounts(training!, classes.length)) : classWeights;
  return {
    training: training!.map(withoutGroup),
    validation: validation!.map(withoutGroup),
    config: { num_classes: classes.length, classes, ...(weights ? { class_weights: weights } : {}) },
  };
}

/** What options and data decide of a configuration. */
const decided = ({ imageSize, labelSmoothing }: ClassifyingOptions, data: TaskData<VitConfig>): Partial<VitConfig> => ({
  ...data.config,
  ...(imageSize === undefined ? {} : { image_size: imageSize }),
  ...(labelSmoothing === undefined ? {} : { label_smoothing: labelSmoothing }),
});

async function firstModel(options: ClassifyingOptions, seed: number, data: TaskData<VitConfig>) {
  const { init, preset, config, signal } = options;
  if (init === undefined) {
    const given = await firstConfig(vit, { preset, config }, "deit-tiny");
    const settled = vit.checkConfig({ ...given, ...decided(options, data) });
    return { config: settled, weights: async (to: VitConfig) => vitParameters(to).parameters.initial(seed) };
  }
  const found = await findModelOf(vit, init, { config, preset, signal });
  // The statistics are those of the new images.
  const { mean: _, std: __, class_weights: ___, ...backbone } = found.config;
  const settled = vit.checkConfig({ ...backbone, ...decided(options, data) });
  const weights = async (to: VitConfig) => {
    await using source = await found.open();
    // Read before the source is closed.
    return await adaptWeights(source, found.config, to, seed);
  };
  return { config: settled, weights };
}

/** Classifying: a label an image, and cross-entropy. */
export const classifying: TaskKind<VitConfig, ClassifyingOptions> = {
  name: "classify",
  terms: [{ name: "crossEntropy", weight: 1 }],
  fewest: 1,
  // The public configuration of medical_transformers (Matsoukas et al., arXiv 2108.09038).
  recipe: {
    ...{ epochs: 25, lr: 1e-4, weightDecay: 1e-5, optimizer: "adam", decay: "matrices" },
    ...{ schedule: "step", warmup: 500, minLr: 1e-6, dropPath: 0, best: "balancedAccuracy", validationImages: 5000 },
  },
  bests: {
    balancedAccuracy: "highest",
    accuracy: "highest",
    macroRecall: "highest",
    kappa: "highest",
    auc: "highest",
    loss: "lowest",
  },
  checkOptions({ preset, valPortion, labelSmoothing, classWeights, dropPath, warmup, minLr, optimizer, decay }) {
    if (preset !== undefined) vit.presetConfig(preset);
    if (valPortion !== undefined && !(valPortion > 0 && valPortion < 1))
      refuse(`valPortion is ${valPortion}.`, "Give a number above 0 and below 1.");
    for (const [name, value] of Object.entries({ labelSmoothing, dropPath }))
      if (value !== undefined && !(value >= 0 && value < 1)) refuse(`${name} is ${value}.`, "Give a number from 0 to below 1.");
    if (warmup !== undefined && !(Number.isSafeInteger(warmup) && warmup >= 0))
      refuse(`warmup is ${warmup}.`, "Give a whole number of steps from 0 on.");
    if (minLr !== undefined && !(minLr >= 0)) refuse(`minLr is ${minLr}.`, "Give a number from 0 on.");
    if (optimizer !== undefined && optimizer !== "adam" && optimizer !== "adamw")
      refuse(`optimizer is ${JSON.stringify(optimizer)}.`, 'Give "adam" or "adamw".');
    if (decay !== undefined && !["matrices", "timm", "all"].includes(decay))
      refuse(`decay is ${JSON.stringify(decay)}.`, 'Give "matrices", "timm" or "all".');
    if (
      classWeights !== undefined &&
      classWeights !== "balanced" &&
      !(Array.isArray(classWeights) && classWeights.every((weight) => weight >= 0))
    )
      refuse(`classWeights are ${String(classWeights)}.`, 'Give "balanced", or a number from 0 on for each class.');
  },
  data: (options, seed) => tellingLeftOut(options.onNote, (leftOut) => listData(options, seed, leftOut)),
  checkConfig: vit.checkConfig,
  shapes: vitShapes,
  givenConfig: async (options, data) => ({ ...(await askedConfig(vit, options)), ...decided(options, data) }),
  firstModel,
  async open(): Promise<OpenTask<VitConfig>> {
    return {
      create: async (gpu, config, settings) => new VitTask(gpu, config, settings),
      [Symbol.asyncDispose]: async () => {},
    };
  },
  judge: (count, config) => new ClassJudge(count, config),
  describe: ({ optimizer, dropPath }) => `${optimizer}${Number(dropPath) > 0 ? `, drop path ${dropPath}` : ""}; `,
  quality: ({ balancedAccuracy, auc, kappa }) =>
    `balanced accuracy ${digits(balancedAccuracy)}, ROC-AUC ${digits(auc)}, kappa ${digits(kappa)}`,
  use: "classifies with it",
};

const digits = (value: unknown): string => (typeof value === "number" && Number.isFinite(value) ? value.toFixed(3) : "undefined");
