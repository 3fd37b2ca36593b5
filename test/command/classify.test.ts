import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type ClassifyFilesOptions, type ClassifyReport, classifyFiles, topClasses } from "../../src/augment/classify-files.js";
import { classTable, concludeClassify } from "../../src/command/classify.js";
import { columnsOf, shortened, table } from "../../src/command/table.js";
import { Classifier, type VitConfig } from "../../src/index.js";
import { parseVitConfig } from "../../src/models/vit/config.js";
import { build, type Failure, fresh, HERE, imageFile, imageFiles, json, listFiles, pixels, run } from "./command.js";

beforeAll(build);

const NAMES = ["benign", "in situ", 'invasive, "grade 3"', "lymphocytes", "stroma"];
const CONFIG: VitConfig = parseVitConfig(
  {
    kind: "vit",
    ...{ image_size: 32, patch_size: 8, embed_dim: 48, num_heads: 3, depth: 2, num_classes: 5, classes: NAMES },
    ...{ mean: [0.6, 0.5, 0.6], std: [0.2, 0.2, 0.2] },
  },
  "test",
);
const load = { config: CONFIG, adapter: "software", precision: "f32", tune: "off" } as const;
const classify = (images: string[], options: Partial<ClassifyFilesOptions> = {}, signal?: AbortSignal) =>
  classifyFiles({ model: "hashed:3", images, load, workers: 0, ...options }, signal);

/** Arguments of the same model for a process. */
function model(config: object = CONFIG): string[] {
  const file = fresh("config.json");
  writeFileSync(file, JSON.stringify(config));
  return ["--model", "hashed:3", "--config", file];
}

describe("files", () => {
  it("at any depth, in order and in batches, are classified as the library does; tables and drawings are written", async () => {
    const folder = fresh();
    for (const [name, seed] of [["a", 1], ["deep/er/b", 2], ["deep/c", 3], ["wide", 4]] as const) // biome-ignore format: a table
      await imageFile(join(folder, `${name}.png`), seed, name === "wide" ? 90 : 32, 32);
    const alone = await imageFile(fresh("alone.jpg"), 5, 32);
    writeFileSync(join(folder, "broken.png"), "no image");
    const [csv, attention] = [fresh("new/table.csv"), join(folder, "maps")];
    const seen: [number, number][] = [];
    const notes: string[] = [];
    const report = await classify([folder, alone, join(folder, "missing.png")], {
      ...{ csv, attention, top: 2, load: { ...load, batchSize: 2 } },
      onProgress: (done, total) => seen.push([done, total]),
      onNote: (text) => notes.push(text),
    });
    const paths = ["a", "broken", "deep/c", "deep/er/b", "wide"].map((name) => join(folder, `${name}.png`));
    const [a, broken, c, b, wide] = paths as [string, string, string, string, string];
    expect(report.images.map(({ image }) => image)).toEqual([...paths, alone, join(folder, "missing.png")]);
    expect(report).toMatchObject({ model: "hashed:3", done: 5, failed: 2, stopped: 0, csv, classes: NAMES, imageSize: 32 });
    expect(report.images.filter(({ status }) => status === "failed").map(({ image, error }) => [image, error!.code])).toEqual([
      [broken, "IMAGE"],
      [join(folder, "missing.png"), "IMAGE"],
    ]);
    expect(seen[0]).toEqual([0, 7]);
    expect(seen.at(-1)).toEqual([7, 7]);
    expect(notes).toContainEqual(expect.stringContaining("hashed:3 on SwiftShader, f32"));

    await using library = await Classifier.load("hashed:3", load);
    const done = [a, c, b, alone];
    const rows = parse(readFileSync(csv), { columns: true }) as Record<string, string>[];
    expect(readFileSync(csv, "utf8")).toMatch(
      /^file,label,probability,benign,in situ,"invasive, ""grade 3""",lymphocytes,stroma\r\n/,
    );
    expect(rows.map((row) => row.file)).toEqual([a, c, b, wide, alone]);
    for (const file of done) {
      const { data, width, height } = await pixels(file);
      const wanted = await library.classify({ data, width, height, channels: 3 });
      const found = report.images.find(({ image }) => image === file)!;
      expect([found.label, found.index]).toEqual([wanted.label, wanted.index]);
      // A JPEG may be decoded otherwise here by a level; batches are other sums.
      expect(found.probability).toBeCloseTo(wanted.probability, 4);
      expect(found.top).toHaveLength(2);
      expect(found.top![0]).toEqual({ label: found.label, index: found.index, probability: found.probability });
      const row = rows.find((one) => one.file === file)!;
      expect(row.label).toBe(wanted.label);
      for (const [index, name] of NAMES.entries()) expect(Number(row[name])).toBeCloseTo(wanted.probabilities[index]!, 4);
    }

    expect(listFiles(attention)).toEqual(["a.png", "alone.png", "deep/c.png", "deep/er/b.png", "wide.png"]);
    expect(report.images[0]!.attention).toBe(join(attention, "a.png"));
    const drawn = await pixels(join(attention, "a.png"));
    expect(drawn.width).toBeGreaterThan(4 * 192);
    // The folder of drawings lies below that of images, and is passed over next time.
    expect((await classify([folder], { attention })).images).toHaveLength(5);
  });

  it("whose drawings would have one name, or lie where images do, are refused before a model is looked for", async () => {
    const [one, other] = [await imageFile(fresh("x.png"), 1), await imageFile(fresh("x.png"), 2)];
    const refused = (options: Partial<ClassifyFilesOptions>) =>
      classify([one, other], { model: "nowhere.safetensors", ...options });
    await expect(refused({ attention: fresh() })).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/Two results would be called/) }); // biome-ignore format: one check
    await expect(refused({ csv: other })).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/both an image to read and/) }); // biome-ignore format: one check
    await expect(classify([fresh()])).rejects.toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/There is no image in/) }); // biome-ignore format: one check
  });

  it("are not read where the model has no head, no statistics or other channels", async () => {
    const missing = ["/nowhere/image.png"];
    const with_ = (config: object) => classify(missing, { load: { ...load, config: { ...CONFIG, classes: undefined, ...config } as unknown as VitConfig } }); // biome-ignore format: one call
    await expect(with_({ num_classes: 0 })).rejects.toMatchObject({
      code: "ARGUMENT",
      message: expect.stringMatching(/no head/),
    });
    await expect(with_({ mean: undefined })).rejects.toMatchObject({ code: "CONFIG", message: expect.stringMatching(/\.485/) });
    const two = { in_channels: 2, mean: [0, 0], std: [1, 1] };
    await expect(with_(two)).rejects.toMatchObject({ code: "CONFIG", message: expect.stringMatching(/takes 2 channels/) });
  });

  it("stop between batches when they are told to", async () => {
    const images = await imageFiles(..."abcdef");
    const controller = new AbortController();
    const csv = fresh("table.csv");
    const report = await classify(
      images,
      { csv, load: { ...load, batchSize: 1 }, onProgress: (done) => done === 2 && controller.abort(new Error("enough")) },
      controller.signal,
    );
    expect(report.done).toBeGreaterThanOrEqual(2);
    expect(report.stopped).toBeGreaterThan(0);
    expect(report.done + report.stopped).toBe(6);
    expect(readFileSync(csv, "utf8").trimEnd().split("\r\n")).toHaveLength(1 + report.done);
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    expect(concludeClassify(report, { top: 1 })).toBe(130);
    vi.restoreAllMocks();
  });
});

describe("the command", () => {
  it("prints one document with --json, and goes on without failing where --skip-unreadable says so", async () => {
    const [a] = await imageFiles("a");
    const missing = join(fresh(), "none.png");
    const flags = [
      "--skip-unreadable",
      "--json",
      "--image-size",
      "48",
      "--mean",
      ".5,.5,.5",
      "--std",
      ".2,.2,.2",
      "--batch",
      "3",
    ];
    const finished = await run(["classify", a!, missing, ...model(), ...flags]);
    expect(finished.code, finished.stderr).toBe(0);
    const report = json<ClassifyReport>(finished);
    expect(report).toMatchObject({
      ...{ model: "hashed:3", adapter: { name: "SwiftShader" }, tier: "f32", classes: NAMES, imageSize: 48 },
      statistics: { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] },
      images: [
        { image: a, status: "done", label: expect.any(String), probability: expect.any(Number), top: [{}] },
        { image: missing, status: "failed", error: { code: "IMAGE" } },
      ],
      ...{ done: 1, failed: 1, stopped: 0 },
    });
  });

  it("ends with what is wrong where a model has no head", async () => {
    const { classes, ...rest } = CONFIG;
    const args = ["classify", "/nowhere.png", ...model({ ...rest, num_classes: 0 }), "--json"];
    const finished = await run(args, HERE);
    expect(finished.code, finished.stderr).toBe(2);
    expect(json<Failure>(finished).error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(/no head/) });
  });
});

describe("exit codes", () => {
  const of = (done: number, failed: number, flags: { skipUnreadable?: boolean } = {}) => {
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const good = { image: "a", status: "done", label: "x", index: 0, probability: 1, top: [] } as const;
    const bad = { image: "b", status: "failed", error: { code: "IMAGE", message: "no", fix: "" } } as const;
    const images = [...Array(done).fill(good), ...Array(failed).fill(bad)];
    const report = { classes: ["x", "y"], images, done, failed, stopped: 0, imagesPerSecond: 1 } as unknown as ClassifyReport;
    const code = concludeClassify(report, { top: 1, ...flags });
    vi.restoreAllMocks();
    return code;
  };
  it("are 1 where an image failed, or with --skip-unreadable where all did", () => {
    expect([of(2, 0), of(2, 1), of(0, 2)]).toEqual([0, 1, 1]);
    expect([of(2, 1, { skipUnreadable: true }), of(0, 2, { skipUnreadable: true })]).toEqual([0, 1]);
  });
});

describe("tables", () => {
  it("top classes are in order, and of equal ones the first comes first", () => {
    const top = topClasses(Float32Array.from([0.2, 0.3, 0.2, 0.3]), ["a", "b", "c", "d"], 3);
    expect(top.map(({ label }) => label)).toEqual(["b", "d", "a"]);
  });

  it("are aligned, fit a terminal, and keep the ends of names and the beginnings of classes", () => {
    const rows = Array.from({ length: 1000 }, (_, i) => ({
      ...{ image: `/very/long/folder/with/many/parts/and/日本語/tile-${i}.png`, status: "done" as const },
      top: [
        { label: "invasive carcinoma of no special type", index: 0, probability: 0.99999 },
        { label: "benign", index: 1, probability: 0.00001 },
      ],
    }));
    const report = { images: rows, classes: ["a", "b"] };
    const wide = classTable(report, 2).trimEnd().split("\n");
    expect(new Set(wide.map(columnsOf)).size).toBe(1);
    for (const width of [100, 80, 40]) {
      const lines = classTable(report, 2, width).trimEnd().split("\n");
      expect(lines).toHaveLength(1001);
      expect(Math.max(...lines.map(columnsOf))).toBeLessThanOrEqual(width);
      expect(lines[1000]).toContain("999.png");
      expect(lines[1]).toContain("invasive");
    }
    expect(wide[1]).toMatch(/99\.9 % {2}benign +<0\.1 %$/);
  });

  it("cannot be made to move a terminal's cursor, and are whole where there is no terminal", () => {
    const name = "evil\u001b[2J\n\u202e.png";
    const columns = [{ head: "image", align: "left", keep: "end" }] as const;
    expect(table(columns, [[name]])).toBe("image\nevil?[2J??.png\n");
    expect(shortened("abcdef", 4, "end")).toBe("…def");
    expect(shortened("abcdef", 4, "start")).toBe("abc…");
    expect(shortened("日本語", 4, "start")).toBe("日…");
    expect(columnsOf("e\u0301日")).toBe(3);
  });
});
