import type { Command } from "commander";
import { bindingVersion } from "../gpu/dawn.js";
import { type ListedAdapter, listAdapters } from "../gpu/find-adapter.js";
import { adapterName, adapterReport } from "../gpu/gpu.js";
import { matrixObstacle } from "../gpu/profile.js";
import { softwareDriverAvailable } from "../gpu/swiftshader.js";
import { hashedUniform } from "../hub/hashed.js";
import { openDevice } from "../models/device.js";
import { type ModelConfig, parseConfig } from "../models/stylizing-vit/config.js";
import { MODEL_TOLERANCE } from "../models/stylizing-vit/tolerance.js";
import { StylizingViT } from "../painter/stylizing-vit.js";
import { versions } from "../version.js";
import { addModelFlags, EXIT, errorDocument, exitCode, type ModelFlags, printJson } from "./shared.js";

/** A small model with weights that need no file: doctor checks the machine, not a download. */
const KNOWN: { model: string; config: ModelConfig; seed: number; batch: number } = {
  model: "hashed:7",
  config: parseConfig({ image_size: 24, patch_size: 8, embed_dim: 96, depth: 2, num_heads: 3 }, "the known model"),
  seed: 7,
  batch: 2,
};
/** Every 157th value of the result, by the PyTorch reference in float64; the largest of all is 2.2829. */
const STRIDE = 157;
const LARGEST = 2.2829;
const EXPECTED = [
  -0.0484759, 0.3742856, -0.3692061, 0.4671773, -1.1773753, 0.1514684, -0.0772044, 0.3033798, -0.3284704, -0.0084254, -1.2724048,
  0.5552703, 0.4468993, 0.1843769, -1.5367985, -0.4835374, 0.2780574, -0.720362, -0.0588408, -0.1504684, 0.0757094, 0.1062535,
  -0.0369617,
];

interface Check {
  name: string;
  ok: boolean;
  found: string;
  fix?: string;
}

const shown = ({ name, ofThisName }: ListedAdapter, number: number): string =>
  `${number} ${name}${ofThisName > 1 ? ` (${ofThisName} of them)` : ""}`;

async function examine(
  flags: Pick<ModelFlags, "adapter" | "precision">,
): Promise<{ checks: Check[]; details: object; code: number }> {
  const checks: Check[] = [];
  const details: Record<string, unknown> = {
    versions: versions(),
    platform: `${process.platform}-${process.arch}`,
    softwareDriver: softwareDriverAvailable(),
  };
  checks.push({
    name: "platform",
    ok: true,
    found: `${process.platform}-${process.arch}, Node ${process.versions.node}, webgpu ${bindingVersion()}`,
  });
  checks.push({
    name: "software driver",
    ok: true,
    found: softwareDriverAvailable()
      ? "SwiftShader, out of @sparticuz/chromium"
      : "none (Linux x64: npm install @sparticuz/chromium@147.0.0)",
  });
  const devices = await listAdapters();
  details.devices = devices;
  checks.push({
    name: "devices",
    ok: true,
    found: devices.length === 0 ? "none" : devices.map(shown).join(", "),
  });
  try {
    using gpu = await openDevice(flags);
    const { facts, profile } = gpu;
    details.adapter = adapterReport(gpu);
    details.tier = profile.tier;
    details.notes = profile.notes;
    details.features = [...facts.features].sort();
    details.limits = profile.limits;
    details.matrixShapes = facts.matrixShapes;
    details.subgroupSize = facts.subgroupSize;
    checks.push({
      name: "adapter",
      ok: true,
      found: `${adapterName(facts)} (${facts.vendor} ${facts.architecture}), ${facts.description}${profile.software ? ", runs on the CPU" : ""}`,
    });
    checks.push({
      name: "tier",
      ok: true,
      found: `${profile.tier}${profile.notes.length > 0 ? ` (${profile.notes.join("; ")})` : ""}`,
    });
    if (!profile.software) {
      const obstacle = matrixObstacle(facts);
      checks.push({
        name: "matrix units",
        ok: true,
        found: obstacle ? `none to use: ${obstacle}` : facts.matrixShapes.join(", "),
      });
    }
    const { maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = profile.limits;
    checks.push({
      name: "limits",
      ok: true,
      found: `${Math.round(maxStorageBufferBindingSize / 2 ** 20)} MiB a binding, ${maxComputeWorkgroupStorageSize / 1024} KiB of workgroup memory, ${maxComputeInvocationsPerWorkgroup} invocations`,
    });
  } catch (error) {
    const { message, fix } = errorDocument(error);
    checks.push({ name: "adapter", ok: false, found: message, fix });
    return { checks, details, code: exitCode(error) };
  }

  try {
    await using model = await StylizingViT.load(KNOWN.model, { ...flags, config: KNOWN.config });
    const count = KNOWN.batch * KNOWN.config.in_channels * KNOWN.config.image_size ** 2;
    const start = performance.now();
    const result = await model.forward(hashedUniform("content", count, KNOWN.seed), hashedUniform("style", count, KNOWN.seed));
    const milliseconds = performance.now() - start;
    const error = Math.max(...EXPECTED.map((value, index) => Math.abs(result[index * STRIDE]! - value))) / LARGEST;
    const bound = MODEL_TOLERANCE[model.report.tier];
    details.knownTensor = { error, bound, milliseconds };
    const ok = error <= bound;
    checks.push({
      name: "known tensor",
      ok,
      found: `off by ${error.toExponential(1)} of the largest value, ${bound} allowed, ${milliseconds.toFixed(0)} ms`,
      ...(ok
        ? {}
        : { fix: "This driver computes wrongly: update it, or use --precision f32, --tune off or --adapter software." }),
    });
  } catch (error) {
    const { message, fix } = errorDocument(error);
    checks.push({ name: "known tensor", ok: false, found: message, fix });
  }
  return { checks, details, code: checks.every((check) => check.ok) ? EXIT.done : EXIT.failed };
}

export function addDoctor(program: Command): void {
  addModelFlags(program.command("doctor").description("say what this machine offers, and paint a known tensor")).action(
    async (flags: ModelFlags) => {
      const { adapter, precision } = flags;
      const { checks, details, code } = await examine({ ...(adapter ? { adapter } : {}), precision });
      process.exitCode = code;
      if (flags.json) {
        printJson({ ok: code === EXIT.done, checks, ...details });
        return;
      }
      for (const { name, ok, found, fix } of checks) {
        process.stdout.write(`${ok ? "ok  " : "FAIL"}  ${name.padEnd(16)}${found}\n`);
        if (fix && !found.includes(fix)) process.stdout.write(`      ${"".padEnd(16)}${fix}\n`);
      }
    },
  );
}
