import { gpuOfThisFile } from "../support/gpu.js";
import { describeGradients, isCostly } from "./attention-backward-families.js";

describeGradients(gpuOfThisFile(), isCostly);
