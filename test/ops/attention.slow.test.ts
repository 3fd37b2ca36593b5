import { gpuOfThisFile } from "../support/gpu.js";
import { describeAttention, isCostly } from "./attention-families.js";

describeAttention(gpuOfThisFile(), isCostly, [1, 3, 4]);
