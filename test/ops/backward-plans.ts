import type { Plan } from "../../src/gpu/dispatch.js";
import type { Profile } from "../../src/gpu/profile.js";
import { planAttentionBackwardContext, planAttentionBackwardQuery } from "../../src/ops/attention-backward.js";
import { planLayerNormBackward } from "../../src/ops/layer-norm-backward.js";
import { planAddRows, planGelu, planSumRows, planSumSlices, planTranspose } from "../../src/ops/rows.js";
import { geluCases, layerNormBackwardCases, SOURCES, sumRowsCases, sumSlicesCases, transposeCases } from "./backward-cases.js";

/** Plans of the backward kernels of the encoder's ops. */
export const backwardPlans = (profile: Profile): Plan[] => [
  ...SOURCES.flatMap((source) => [
    ...transposeCases.map((one) => planTranspose({ ...one, paddedRows: Math.ceil(one.rows / 4) * 4, source }, profile)),
    ...sumRowsCases.map((one) => planSumRows({ ...one, source }, profile)),
  ]),
  ...sumSlicesCases.map((one) => planSumSlices(one, profile)),
  planAddRows(96, profile),
  ...geluCases.flatMap((one) => [false, true].map((derivative) => planGelu({ ...one, derivative }, profile))),
  ...layerNormBackwardCases.map((one) => planLayerNormBackward(one, profile)),
  ...[4, 12, 20, 32, 64, 80, 192].flatMap((headSize) => {
    const shape = { sequences: 3, contexts: 2, tokens: 197, heads: 3, headSize };
    return [planAttentionBackwardQuery(shape, profile), planAttentionBackwardContext(shape, profile)];
  }),
];
