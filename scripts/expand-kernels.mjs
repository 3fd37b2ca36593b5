// Writes the kernels as they are compiled into dist/kernels, for editors and readers: those of kernels/ lack the parts and the
// constants that are put in front of them. The library does not read these files.
//
// Every kernel in f32 and in float16, on matrix units and on their emulation where it has a matrix tier; once where the tier
// changes nothing. Constants are those that a GPU, or for the quad kernels a CPU, gets for `tiny` at a batch of 8.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { composeKernel } from "../dist/gpu/kernel.js";
import { dimensions, presetConfig } from "../dist/models/stylizing-vit/config.js";
import { layoutOf } from "../dist/models/stylizing-vit/parameters.js";
import { planAttention } from "../dist/ops/attention.js";
import { planAttentionBackwardContext, planAttentionBackwardQuery } from "../dist/ops/attention-backward.js";
import { planClsAttention, planCrossEntropy } from "../dist/ops/classification.js";
import { planConvolutionGradient, planPatchProductBackward } from "../dist/ops/decoder-backward.js";
import {
  planClearMargin,
  planFeatureStatistics,
  planMapsToPlanes,
  planMaxPool,
  planNormalizePixels,
  planPerceptualDistance,
  planPlanesToMaps,
} from "../dist/ops/features.js";
import { planFourierApply, planFourierBack, planFourierColumns, planFourierRows, planFourierSwap } from "../dist/ops/fourier.js";
import { planGuidedApply, planGuidedFit, planGuidedMoments, planGuidedSmooth } from "../dist/ops/guided.js";
import { planConvolution, planPatchify, planPatchProduct, planQuantize } from "../dist/ops/images.js";
import { planLayerNorm } from "../dist/ops/layer-norm.js";
import { planLayerNormBackward } from "../dist/ops/layer-norm-backward.js";
import { planLevelCounts, planLevelTables, planRelevel } from "../dist/ops/levels.js";
import { planLinear } from "../dist/ops/linear.js";
import { planConsistencyLoss, planFeatureBackward, planPixelLoss, planStylizedLoss } from "../dist/ops/losses.js";
import { planAdamW, planFinishStep, planSumSquares } from "../dist/ops/optimizer.js";
import { planColourMoments, planColourStatistics, planMomentRecipe, planRecolour } from "../dist/ops/restyle.js";
import { planAddRows, planGelu, planNarrow, planScaleRows, planSumRows, planSumSlices, planTranspose } from "../dist/ops/rows.js";
import { planStainCounts, planStainFit, planStainRecipe, planStainSelect } from "../dist/ops/stains.js";
import { planFoldBias, planFoldMatrix, planPositionTable, planUnfold } from "../dist/ops/weights.js";

const images = 8;
const config = presetConfig("tiny");
const { tokens, width, heads, head, patch, rank } = layoutOf(config);
const { hidden } = dimensions(config);
const rows = images * tokens;
const image = { images, channels: config.in_channels, imageSize: config.image_size };
const patches = { ...image, patchSize: config.patch_size };
const attention = { sequences: images, contexts: images, tokens, heads, headSize: head };
const guided = { slots: images, height: config.image_size, width: config.image_size };
const maps = { images, side: config.image_size, channels: 64 };
/** Tiles of 224 pixels to be restyled. */
const chunks = { channels: 3, count: images * Math.ceil(config.image_size ** 2 / 2048) };
const restyled = { channels: 3, count: images, words: (3 * config.image_size ** 2) / 4, background: undefined };
const bands = { channels: 3, count: images, each: config.image_size * 12 };
const gemm = { rows, depth: width, cols: hidden, result: "elem" };
const windows = { rows: images * config.image_size ** 2, depth: 9 * 64, cols: 64, result: "elem", windowChannels: 64 };

/** A common GPU; the quad kernels are a CPU's. */
const PROFILE = {
  elementBytes: 4,
  software: false,
  subgroups: true,
  matrix: undefined,
  limits: {
    maxComputeWorkgroupStorageSize: 32_768,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
    maxComputeWorkgroupsPerDimension: 65_535,
  },
};

/** Linear kernels are three, by the parts in front: what behind the kernel's name tells their files apart. */
const GEMMS = {
  "": (profile) => planLinear({ ...gemm, epilogue: "gelu" }, profile),
  ".backward": (profile) => planLinear({ ...gemm, epilogue: "gelu_derivative" }, profile),
  ".convolution": (profile) => planLinear({ ...windows, epilogue: "relu" }, profile),
};
const OTHERS = [
  (profile) => planAttention(attention, profile),
  (profile) => planAttentionBackwardQuery(attention, profile),
  (profile) => planAttentionBackwardContext(attention, profile),
  (profile) => planLayerNorm({ rows, width, affine: false, result: "elem" }, profile),
  (profile) => planLayerNormBackward({ rows, width }, profile),
  (profile) => planGelu({ rows, cols: hidden }, profile),
  (profile) => planTranspose({ rows, paddedRows: rows, cols: width, source: "elem" }, profile),
  (profile) => planSumRows({ rows: width, cols: rows, source: "elem" }, profile),
  (profile) => planSumSlices({ slices: images, count: width * hidden }, profile),
  (profile) => planAddRows(rows * width, profile),
  (profile) => planNarrow(rows * width, profile),
  (profile) => planScaleRows({ rows, cols: width, residual: true }, profile),
  (profile) => planGuidedMoments(guided, profile),
  (profile) => planGuidedFit(guided, profile),
  (profile) => planGuidedSmooth({ ...guided, vertical: true }, profile),
  (profile) => planGuidedApply({ ...guided, channels: 3, words: (3 * 512 ** 2) / 4, background: undefined }, profile),
  (profile) => planColourMoments({ ...chunks, space: "lab", weight: "all" }, profile),
  (profile) => planColourStatistics(images, profile),
  () => planMomentRecipe({ count: images, recipe: "transfer", weighted: false }),
  (profile) => planStainCounts({ ...chunks, of: "angles" }, profile),
  () => planStainSelect({ slots: images, of: "angles" }),
  () => planStainFit({ count: images, step: "plane" }),
  () => planStainRecipe({ count: images, recipe: "normalise" }),
  (profile) => planRecolour({ ...restyled, space: "lab", change: "none" }, profile),
  (profile) => planLevelCounts(chunks, profile),
  () => planLevelTables({ count: images, recipe: "match" }),
  (profile) => planRelevel(restyled, profile),
  (profile) => planFourierRows(bands, profile),
  (profile) => planFourierColumns(bands, profile),
  (profile) => planFourierSwap(bands, profile),
  (profile) => planFourierBack(bands, profile),
  (profile) => planFourierApply(restyled, profile),
  (profile) => planPatchify({ ...patches, depth: patch, format: "bytes" }, profile),
  (profile) => planPatchProduct({ ...patches, rank, stride: width }, profile),
  (profile) => planPatchProductBackward({ ...patches, rank, stride: width }, profile),
  (profile) => planConvolution({ ...image, kernelSize: config.post_process_conv_kernel_size }, profile),
  (profile) => planConvolutionGradient({ ...image, kernelSize: config.post_process_conv_kernel_size }, profile),
  (profile) => planQuantize({ ...image, format: "bytes" }, profile),
  (profile) => planNormalizePixels(image, profile),
  (profile) => planPlanesToMaps(maps, profile),
  (profile) => planMapsToPlanes(maps, profile),
  (profile) => planMaxPool(maps, profile),
  (profile) => planFeatureStatistics(maps, profile),
  (profile) => planClearMargin(maps, profile),
  (profile) => planPerceptualDistance(maps, profile),
  (profile) => planFeatureBackward({ ...maps, mask: true, pooled: true }, profile),
  (profile) => planConsistencyLoss(maps, profile),
  (profile) => planStylizedLoss(maps, profile),
  (profile) => planPixelLoss(image, profile),
  (profile) => planClsAttention({ sequences: images, heads }, profile),
  (profile) => planCrossEntropy({ rows: images, result: "elem" }, profile),
  (profile) => planFoldMatrix({ rows: hidden, cols: width }, profile),
  (profile) => planFoldBias({ rows: hidden, cols: width }, profile),
  (profile) => planUnfold({ rows: hidden, cols: width }, profile),
  (profile) => planPositionTable({ tokens, width }, profile),
  () => planSumSquares(),
  () => planFinishStep(),
  (profile) => planAdamW(width * hidden, true, profile),
];
const PLANS = [...Object.entries(GEMMS), ...OTHERS.map((planOf) => ["", planOf])];

/** What the parts of the tier define: a kernel that has none of it is the same in all. */
const OF_TIER = /\b(elem4|widen|result4|to_result|of_result|FLOAT16_RESULT)\b/;
const TIERS = [
  ["f32", PROFILE],
  ["float16", { ...PROFILE, elementBytes: 2 }],
  ["f32", { ...PROFILE, software: true }],
  ["float16", { ...PROFILE, software: true, elementBytes: 2 }],
  ["float16.units", { ...PROFILE, elementBytes: 2, matrix: "units" }],
  ["float16.emulation", { ...PROFILE, elementBytes: 2, matrix: "emulation" }],
];

const list = (values) => Object.entries(values).map(([name, value]) => `${name} = ${value}`);

function expanded({ variant }, profile) {
  const { code } = composeKernel(variant, profile);
  const overrides = list(variant.overrides);
  const parts = (variant.parts ?? []).map((part) => `parts/${part}.wgsl`);
  const comment = [
    `Made by scripts/expand-kernels.mjs of kernels/${variant.kernel}.wgsl, which is what to edit: it comes last, and begins with its comment.`,
    ...(parts.length > 0 ? [`In front of it: ${parts.join(", ")}.`] : []),
    `Entry point: ${variant.entryPoint}.${overrides.length > 0 ? ` Overrides: ${overrides.join(", ")}.` : ""}`,
  ];
  return `${comment.map((line) => `// ${line}\n`).join("")}\n${code.trim().replace(/\n{3,}/g, "\n\n")}\n`;
}

/** Whole, valid WGSL by file name. */
export function expandKernels() {
  const files = new Map();
  for (const [tier, profile] of TIERS) {
    for (const [kind, planOf] of PLANS) {
      const plan = planOf(profile);
      const { kernel, matrix = false } = plan.variant;
      // Without matrix units a kernel is that of the other tiers, and on a CPU most are those of a GPU.
      if (matrix !== (profile.matrix !== undefined)) continue;
      const { code, front } = composeKernel(plan.variant, profile);
      const own = code.split("\n").slice(front).join("\n");
      const name = `${kernel}${kind}${OF_TIER.test(own) || matrix ? `.${tier}` : ""}.wgsl`;
      if (!files.has(name)) files.set(name, expanded(plan, profile));
    }
  }
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = fileURLToPath(new URL("../dist/kernels/", import.meta.url));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of expandKernels()) writeFileSync(join(folder, name), text);
}
