import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { StylizeReport } from "../../src/augment/report.js";
import type { StylizingError } from "../../src/errors.js";
import { StylizingViT } from "../../src/index.js";
import { safetensorsBytes } from "../hub/files.js";
import { whitePng } from "../image/helpers.js";
import { gpuOfThisFile } from "../support/gpu.js";
import {
  build,
  DEMO_MODEL,
  type Failure,
  fresh,
  HERE,
  imageFile,
  imageFiles,
  listFiles,
  micro,
  run,
  runJson,
  spoiledModel,
  stylize,
} from "./command.js";

beforeAll(build);

describe("wrong usage ends with 2 and says what is wrong", () => {
  const [content, style] = [fresh("c.png"), fresh("s.png")];
  for (const file of [content, style]) writeFileSync(file, "is not read");
  const paths = stylize([content], [style], fresh("out"));
  it.each<[string, string[], RegExp]>([
    ["an unknown verb", ["paint"], /unknown command 'paint'/],
    ["an unknown option", [...paths, "--colour"], /unknown option '--colour'/],
    ["a missing option", ["stylize", "--content", "c.png", "--style", "s.png"], /required option '--out <folder>'/],
    ["an unknown pairing", [...paths, "--pair", "some"], /argument 'some' is invalid\. Allowed choices are each, all, random/],
    ["an unknown format", [...paths, "--format", "gif"], /Allowed choices are png, jpeg, webp/],
    ["an unknown adapter", [...paths, "--adapter", "cuda"], /Allowed choices are auto, hardware, software/],
    ["a batch of none", [...paths, "--batch", "0"], /argument '0' is invalid\. It must be a positive whole number/],
    ["half a seed", [...paths, "--seed", "1.5"], /argument '1\.5' is invalid\. It must be a whole number/],
    ["a mean of words", [...paths, "--mean", "a,b,c"], /It must be numbers with commas between/],
    ["a mean of 0 to 255", [...paths, "--mean", "190,150,184"], /divide by 255, 0\.7451,0\.5882,0\.7216/],
    ["a mean below 0", [...paths, "--mean=-.1,.5,.5"], /Give 3 numbers in \[0, 1\]/],
    ["a deviation of 0", [...paths, "--std", "0,.1,.1"], /Give 3 positive numbers up to 1/],
    ["a classifier's deviation of 0 to 255", ["classify", "c.png", "--model", "m", "--std", "58,57,57"], /divide by 255/],
    ["an unknown model", [...paths, "--model", "tiny/camelyon17"], /no published model.*Nearest names: tiny\/camelyon17wilds/],
    ["a seed that is none", [...paths, "--model", "hashed:x", "--preset", "tiny"], /no whole number for a seed/],
    ["hashed weights without a shape", [...paths, "--model", "hashed:1"], /Give a preset/],
    ["an unknown preset", [...paths, "--model", "hashed:1", "--preset", "huge"], /Unknown preset "huge".*tiny, small, base/],
  ])("%s", async (_, args, message) => {
    const { code, stdout, stderr } = await run([...args, "--json"], HERE);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
    const { error } = JSON.parse(stdout) as Failure;
    expect(error).toMatchObject({ code: "ARGUMENT", fix: expect.stringMatching(/\w/) });
  });

  it("no verb at all: the help, on stderr", async () => {
    const { code, stdout, stderr } = await run([], HERE);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("Usage: stylizing-vit");
  });

  it("a folder without images, as content or as style", async () => {
    const [empty, some, out] = [fresh(), await imageFiles("a"), fresh("out")];
    writeFileSync(join(empty, "notes.txt"), "none");
    for (const [what, args] of [
      ["content", stylize([empty], some, out)],
      ["style", stylize(some, [empty], out)],
    ] as const) {
      // biome-ignore format: a table
      const { error } = await runJson<Failure>(args, 2, HERE);
      expect(error.message).toContain(`There is no ${what} image in ${empty}.`);
    }
    expect(existsSync(out)).toBe(false);
  });
});

describe("images that cannot be read", () => {
  it("are reported one by one, and the others are painted", async () => {
    const folder = fresh();
    const at = (name: string) => join(folder, name);
    await imageFile(at("good.png"), 1);
    await imageFile(at("last.jpg"), 2);
    writeFileSync(at("empty.png"), "");
    const whole = readFileSync(await imageFile(at("cut.png"), 3));
    writeFileSync(at("cut.png"), whole.subarray(0, whole.length / 2));
    writeFileSync(at("text.png"), "This is no image.");
    writeFileSync(at("huge.png"), whitePng(10_000, 10_000));
    mkdirSync(at("folder.png"));
    const names = ["good.png", "missing.png", "empty.png", "cut.png", "text.png", "huge.png", "last.jpg"];
    const out = fresh("out");
    const report = await runJson<StylizeReport>([...stylize(names.map(at), await imageFiles("s"), out), ...micro()], 1);
    expect(report.images.map(({ content, status }) => `${basename(content)} ${status}`)).toEqual([
      "good.png done",
      "missing.png failed",
      "empty.png failed",
      "cut.png failed",
      "text.png failed",
      "huge.png failed",
      "last.jpg done",
    ]);
    expect(report).toMatchObject({ done: 2, failed: 5, stopped: 0 });
    const reasons: Record<string, RegExp> = {
      "missing.png": /does not exist/,
      "empty.png": /is empty \(0 bytes\)/,
      "cut.png": /could not be decoded/,
      "text.png": /not an image in a format that is known/,
      "huge.png": /10000 × 10000 = 100 megapixels; the limit is 64/,
    };
    for (const [name, message] of Object.entries(reasons)) {
      const { error } = report.images.find(({ content }) => content === at(name))!;
      expect(error).toMatchObject({ code: "IMAGE", message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
      expect(error!.message).toContain(at(name));
      // What does not exist is said before anything is loaded.
      expect(report.stderr).toContain(`failed: ${at(name)} ${name === "missing.png" ? "does not exist" : "in "}`);
    }
    expect(report.stderr).toContain("2 of 7 painted");
    expect(listFiles(out)).toEqual(["good.png", "last.png"]);
  });
});

describe("results that cannot be written", () => {
  it("stop the run at its start where the folder is impossible", async () => {
    const [contents, styles] = [await imageFiles("a"), await imageFiles("s")];
    const file = fresh("file");
    writeFileSync(file, "in the way");
    const impossible = [join(file, "out"), file, ...(process.platform === "linux" ? ["/proc/out/of/order"] : [])];
    for (const out of impossible) {
      const { error } = await runJson<Failure>(stylize(contents, styles, out), 1);
      expect(error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining(out), fix: expect.stringMatching(/\w/) });
    }
    expect(readFileSync(file, "utf8")).toBe("in the way");
  });
});

function modelOf(
  weights: Uint8Array,
  config = readFileSync(join(DEMO_MODEL, "config.json"), "utf8"),
  name = "model.safetensors",
) {
  const folder = fresh();
  writeFileSync(join(folder, name), weights);
  writeFileSync(join(folder, "config.json"), config);
  return folder;
}

describe("weights that cannot be used", () => {
  const gpu = gpuOfThisFile();
  const demo = () => readFileSync(join(DEMO_MODEL, "model.safetensors"));
  const NORM = "encoder.blocks.2.norm_input.weight";

  // One of each code as the command ends with it, the others as the library refuses them: a process costs seconds of a CPU.
  const AS_A_COMMAND = ["a missing file", "a value that is no number", "a configuration that is not JSON"];

  it.each<[string, string, RegExp, () => string | Promise<string>]>([
    ["a missing file", "CHECKPOINT", /nothing\.safetensors does not exist/, () => join(fresh(), "nothing.safetensors")],
    ["a folder without weights", "CHECKPOINT", /has neither model\.safetensors nor/, () => fresh()],
    ["an empty file", "CHECKPOINT", /is empty/, () => modelOf(new Uint8Array(0))],
    ["a file that is cut off", "CHECKPOINT", /the file has only/, () => modelOf(demo().subarray(0, 1_000_000))],
    [
      "a header longer than the file",
      "CHECKPOINT",
      /cut off|not a safetensors/,
      () => modelOf(safetensorsBytes("{}", undefined, 9n ** 9n)),
    ],
    [
      "a header that promises more than there is",
      "CHECKPOINT",
      /describes tensor x wrongly: it ends at byte 400/,
      () => modelOf(safetensorsBytes({ x: { dtype: "F32", shape: [100], data_offsets: [0, 400] } }, new Uint8Array(8))),
    ],
    [
      "a missing tensor",
      "CHECKPOINT",
      /lacks the tensor encoder\.blocks\.2\.norm_input\.weight/,
      () => spoiledModel((t) => void t.delete(NORM)),
    ],
    [
      "a value that is no number",
      "CHECKPOINT",
      /has NaN in encoder\.blocks\.2\.norm_input\.weight, element 5/,
      () => spoiledModel((t) => void (t.get(NORM)!.data as Float32Array).fill(Number.NaN, 5)),
    ],
    [
      "a tensor of another shape",
      "CONFIG",
      /norm_input\.weight has the shape \[48\], and the configuration asks for \[96\]/,
      () => spoiledModel((t) => void t.set(NORM, { shape: [48], data: new Float32Array(48) })),
    ],
    [
      "a configuration of another model",
      "CONFIG",
      /has the shape \[.*\], and the configuration asks for \[/,
      () => modelOf(demo(), JSON.stringify({ image_size: 96, patch_size: 8, embed_dim: 144, num_heads: 3, depth: 5 })),
    ],
    [
      "a configuration that is deeper than the weights",
      "CHECKPOINT",
      /lacks the tensor encoder\.blocks\.5\./,
      () => modelOf(demo(), JSON.stringify({ image_size: 96, patch_size: 8, embed_dim: 96, num_heads: 3, depth: 6 })),
    ],
    ["a configuration that is not JSON", "CONFIG", /config\.json is not JSON/, () => modelOf(demo(), "{")],
    ["weights that do not tell their heads", "CONFIG", /does not say how many heads.*--config/, () => modelOf(demo(), "{}")],
  ])("%s", async (what, code, message, make) => {
    const expected = { code, message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) };
    if (!AS_A_COMMAND.includes(what)) {
      const error = await StylizingViT.load(await make(), { device: gpu().device, precision: "f32" }).catch((thrown) => thrown);
      const { message: text, fix } = error as StylizingError;
      expect({ ...error, message: `${text} ${fix}`, fix }).toMatchObject(expected);
      return;
    }
    const [contents, styles, out] = [await imageFiles("a"), await imageFiles("s"), fresh("out")];
    const { error } = await runJson<Failure>([...stylize(contents, styles, out), "--model", await make()], 1, HERE);
    expect(error).toMatchObject(expected);
    expect(listFiles(out)).toEqual([]);
  });

  it("in PyTorch's own format are refused with the Python that converts them", async () => {
    const file = join(modelOf(new Uint8Array([0x50, 0x4b, 3, 4, 0, 0, 0, 0, 0, 0]), "{}", "weights.pth"), "weights.pth");
    const args = stylize(await imageFiles("a"), await imageFiles("s"), fresh("out"));
    const { stderr, code } = await run([...args, "--model", file], HERE);
    expect(code).toBe(1);
    expect(stderr).toContain("is a PyTorch pickle, which can run code when it is loaded");
    expect(stderr).toContain(`import torch; from safetensors.torch import save_file
state = torch.load(${JSON.stringify(file)}, map_location="cpu", weights_only=True)
save_file({k: v.contiguous() for k, v in state.items()}, ${JSON.stringify(file.replace(".pth", ".safetensors"))})`);
  });
});

describe("configurations of no possible model", () => {
  const shape = { image_size: 224, patch_size: 16, embed_dim: 192, num_heads: 3, depth: 12 };
  it.each<[string, object | string | undefined, RegExp]>([
    [
      "a width of 1024 with 16-pixel RGB patches",
      { ...shape, embed_dim: 1024, num_heads: 16 },
      /width 1024 cannot feed this decoder.*3 × 16 = 48.*Use a multiple of 96/,
    ],
    ["a kernel of even size", { ...shape, post_process_conv_kernel_size: 4 }, /kernel size 4 is even/],
    ["an image that patches do not fill", { ...shape, image_size: 100 }, /image size 100 is not a multiple of the patch size 16/],
    ["heads that do not divide the width", { ...shape, num_heads: 5 }, /width 192 is not a multiple of 5 heads/],
    ["no layers", { ...shape, depth: 0 }, /depth is 0\. It must be a positive integer/],
    ["two means for three channels", { ...shape, mean: [0.5, 0.5] }, /mean is \[0\.5,0\.5\]\. Give 3 numbers/],
    ["a spread of nothing", { ...shape, std: [0.2, 0, 0.2] }, /std is \[0\.2,0,0\.2\]\. Give 3 positive numbers/],
    ["no width", { image_size: 224 }, /lacks embed_dim/],
    ["a list", [], /does not hold a JSON object/],
    ["no JSON", "{,}", /is not JSON/],
    ["no file", undefined, /cannot be read/],
  ])("%s", async (_, config, message) => {
    const [file, output] = [fresh("config.json"), fresh("out.safetensors")];
    if (config !== undefined) writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
    const input = fresh("none.safetensors");
    const args = ["forward", "--model", "hashed:1", "--config", file, "--input", input, "--output", output];
    const { error } = await runJson<Failure>(args, 1, HERE);
    expect(error).toMatchObject({ code: "CONFIG", message: expect.stringMatching(message), fix: expect.stringMatching(/\w/) });
    expect(existsSync(output)).toBe(false);
  });
});

it("precision that the adapter lacks is refused", async () => {
  const args = [...stylize(await imageFiles("a"), await imageFiles("s"), fresh("out")), "--precision", "matrix"];
  const { error } = await runJson<Failure>(args, 1);
  expect(error).toMatchObject({ code: "GPU", message: expect.stringContaining("Matrix units are not to be had here") });
});

it("a device or a pipe is never replaced by a result", async (test) => {
  const pipe = fresh("pipe");
  try {
    execFileSync("mkfifo", [pipe], { stdio: "pipe" });
  } catch {
    test.skip("no pipes can be made here");
  }
  const { error } = await runJson<Failure>(
    ["forward", "--model", "hashed:1", "--preset", "tiny", "--input", "x", "--output", pipe],
    1,
    HERE,
  );
  expect(error).toMatchObject({ code: "OUTPUT", message: expect.stringContaining("a device or a pipe") });
  expect(statSync(pipe).isFIFO()).toBe(true);
});
