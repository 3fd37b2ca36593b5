import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Call, Candidate } from "../../src/gpu/call.js";
import { Gpu } from "../../src/gpu/gpu.js";
import { type TuneMode, Tuner } from "../../src/gpu/tuner.js";
import { view } from "../../src/gpu/view.js";
import { type LinearShape, linear, linearCandidates, linearKey } from "../../src/ops/linear.js";
import { gpuOfThisFile, hardwareProfile } from "../support/gpu.js";

const gpu = gpuOfThisFile();
const folder = mkdtempSync(join(tmpdir(), "stylizing-tuner-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const freshFile = () => join(folder, `${count++}`, "tuning.json");

const shape: LinearShape = { rows: 256, depth: 96, cols: 96, epilogue: "none", result: "f32" };
const KEY = "linear 256x96x96 none f32";

/** A GEMM on buffers of its own, to be done in one of the given ways. */
function gemm(on: Gpu, candidates: readonly Candidate[], key = KEY): { call: Call; free: () => void } {
  const [x, w, bias, y] = [256 * 96, 96 * 96, 96, 256 * 96].map((size) => on.storage("operand", 4 * size));
  const operands = { x: view(x!, "elem", 256, 96), w: view(w!, "elem", 96, 96), bias: bias!, y: view(y!, "f32", 256, 96) };
  const call = { ...linear(on.profile, operands), key, candidates };
  return { call, free: () => on.release(x!, w!, bias!, y!) };
}

async function pick(tuner: Tuner, candidates: readonly Candidate[], mayMeasure = true): Promise<string> {
  const { call, free } = gemm(gpu(), candidates);
  const plan = await tuner.pick(call, mayMeasure);
  free();
  return candidates.find((candidate) => candidate.plan === plan)!.name;
}

/** A tuner of this file's device, or of one that says that it is another. */
const tuner = (mode: TuneMode, file = freshFile(), { facts = gpu().facts, profile = gpu().profile } = {}) =>
  // The file's own device has its kernels compiled.
  new Tuner(
    facts === gpu().facts && profile === gpu().profile ? gpu() : new Gpu(gpu().device, facts, profile, false),
    mode,
    file,
  );
const quads = () => linearCandidates(shape, gpu().profile);
/** The kernel for GPUs with two rows an invocation: on a CPU several times as slow as quads. */
const tiled = (): Candidate => linearCandidates(shape, hardwareProfile(gpu().profile)).find(({ name }) => name === "tiled 2x4")!;

it("knows the GEMM of these tests by its shape", () => {
  expect(linearKey(shape)).toBe(KEY);
  expect(gemm(gpu(), quads()).call.key).toBe(KEY);
});

/** What a file calls this adapter. */
let adapterKey: Promise<string> | undefined;

describe("the tuner", () => {
  it("keeps a default that nothing beats, and takes what beats it", async () => {
    const [fast] = quads();
    const first = tuner("measure");
    expect(await pick(first, [fast!, tiled()])).toBe(fast!.name);
    const kept = first.choices.get(KEY)!;
    expect(kept.milliseconds).toBe(kept.defaultMilliseconds);
    const second = tuner("measure");
    expect(await pick(second, [tiled(), fast!])).toBe(fast!.name);
    const choice = second.choices.get(KEY)!;
    expect(choice.milliseconds).toBeLessThan(choice.defaultMilliseconds);
    expect(choice.candidates).toBe(2);
  });

  it("remembers: another one with the same file measures nothing, whatever it would find", async () => {
    const file = freshFile();
    const first = tuner("measure", file);
    const [fast] = quads();
    await pick(first, [tiled(), fast!]);
    first.save();
    // The same names the other way round: measured, it would stay with the default.
    expect(await pick(tuner("auto", file), [fast!, tiled()])).toBe(fast!.name);
    const decoy = { ...tiled(), name: fast!.name };
    expect(await pick(tuner("auto", file), [{ ...fast!, name: "default" }, decoy])).toBe(fast!.name);
  });

  it("measures anew where it is told to, once a shape", async () => {
    const file = freshFile();
    const first = tuner("measure", file);
    const [fast] = quads();
    await pick(first, [tiled(), fast!]);
    first.save();
    const again = tuner("measure", file);
    const decoy = { ...tiled(), name: fast!.name };
    expect(await pick(again, [{ ...fast!, name: "default" }, decoy])).toBe("default");
    const found = again.choices.get(KEY);
    await pick(again, [{ ...fast!, name: "default" }, decoy]);
    expect(again.choices.get(KEY)).toBe(found);
  });

  it("takes the default and reads nothing where it is off", async () => {
    const file = freshFile();
    const first = tuner("measure", file);
    await pick(first, [tiled(), quads()[0]!]);
    first.save();
    expect(await pick(tuner("off", file), [tiled(), quads()[0]!])).toBe(tiled().name);
  });

  it("says once that it is going to measure, and not where it does not", async () => {
    const heard: string[] = [];
    for (const mode of ["measure", "auto"] as const) {
      const one = tuner(mode);
      one.onFirstMeasure = () => heard.push(mode);
      await pick(one, [tiled(), quads()[0]!]);
      const { call, free } = gemm(gpu(), [quads()[0]!], "another shape");
      await one.pick(call);
      free();
      await pick(one, [tiled(), { ...quads()[0]!, name: "renamed" }]);
    }
    expect(heard).toEqual(["measure"]);
  });

  it("measures on a CPU on request only: compiling all candidates takes it seconds", async () => {
    const one = tuner("auto");
    expect(await pick(one, [tiled(), quads()[0]!])).toBe(tiled().name);
    expect(one.choices.size).toBe(0);
  });

  it("measures on a GPU by itself, but never where buffers must keep what they hold", async () => {
    const one = tuner("auto", freshFile(), { profile: hardwareProfile(gpu().profile) });
    expect(await pick(one, [tiled(), quads()[0]!], false)).toBe(tiled().name);
    expect(await pick(one, [tiled(), quads()[0]!])).toBe(quads()[0]!.name);
  });

  it.each([
    ["another driver", { description: "SwiftShader driver 6.0.0" }],
    ["another adapter", { device: "another" }],
  ])("ignores what was measured with %s", async (_, changes) => {
    const file = freshFile();
    const first = tuner("measure", file);
    await pick(first, [tiled(), quads()[0]!]);
    first.save();
    const other = tuner("auto", file, { facts: { ...gpu().facts, ...changes } });
    expect(other.choices.size).toBe(0);
    expect(await pick(other, [tiled(), quads()[0]!])).toBe(tiled().name);
  });

  it.each(["", "{", "[]", "null", "7", '{"KEY": 3}', '{"KEY": {"OP": {"name": 5}}}', '{"KEY": {"OP": null}}'])(
    "ignores a file that holds %j, and replaces it",
    async (text) => {
      const file = freshFile();
      mkdirSync(join(file, ".."), { recursive: true });
      adapterKey ??= (async () => {
        const first = tuner("measure", file);
        await pick(first, [tiled(), quads()[0]!]);
        first.save();
        return Object.keys(JSON.parse(readFileSync(file, "utf8")) as object)[0]!;
      })();
      const key = await adapterKey;
      writeFileSync(file, text.replace("KEY", key.replaceAll("\\", "\\\\")).replace("OP", KEY));
      const damaged = tuner("auto", file);
      expect(damaged.choices.size).toBe(0);
      expect(await pick(damaged, [tiled(), quads()[0]!])).toBe(tiled().name);
      const anew = tuner("measure", file);
      await pick(anew, [tiled(), quads()[0]!]);
      anew.save();
      expect(tuner("auto", file).choices.size).toBe(1);
    },
  );

  it("falls back to the default where what was chosen is no candidate any more", async () => {
    const file = freshFile();
    const first = tuner("measure", file);
    await pick(first, [tiled(), { ...quads()[0]!, name: "of an older version" }]);
    first.save();
    expect(await pick(tuner("auto", file), [tiled(), quads()[0]!])).toBe(tiled().name);
  });

  it("leaves out a candidate that this device cannot compile", async () => {
    const impossible = structuredClone(tiled());
    Object.assign(impossible, { name: "impossible" });
    Object.assign(impossible.plan.variant.overrides, { WIDTH: 4096 });
    const one = tuner("measure");
    expect(await pick(one, [quads()[0]!, impossible])).toBe(quads()[0]!.name);
    expect(one.choices.get(KEY)!.candidates).toBe(1);
  });

  it("forgets what it chose, on disk as well", async () => {
    const file = freshFile();
    const first = tuner("measure", file);
    await pick(first, [tiled(), quads()[0]!]);
    first.save();
    first.forget();
    expect(first.choices.size).toBe(0);
    expect(tuner("auto", file).choices.size).toBe(0);
  });

  it("works on where its file cannot be written", async () => {
    const blocked = join(folder, "blocked");
    writeFileSync(blocked, "a file, not a folder");
    const one = tuner("measure", join(blocked, "tuning.json"));
    expect(await pick(one, [tiled(), quads()[0]!])).toBe(quads()[0]!.name);
    expect(() => one.save()).not.toThrow();
  });
});
