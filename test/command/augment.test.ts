import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import type { AugmentReport } from "../../src/augment/augment-data-set.js";
import type { ManifestHeader, ManifestLine } from "../../src/augment/manifest.js";
import type { ReplayReport } from "../../src/augment/replay.js";
import { openDataSet } from "../../src/datasets/open.js";
import type { DataFormat } from "../../src/datasets/types.js";
import { drawTiles, pixelsOf, python, pythonReads, samplesOf, sha, type Tile, writeTiles } from "../datasets/drawn.js";
import { goldenFolder, root, shared } from "../support/fixtures.js";
import { build, type Failure, fresh, HERE, listFiles, micro, run, runJson } from "./command.js";

beforeAll(build);

/** Closed forms that need no style, that need one, and that may decline. */
const METHODS = "macenko-augment:2,hed-jitter,he-stain,reinhard,histogram-match,fda";
let tiles: Tile[];
let data: string;
/** The folder of classes, restyled twice: what most tests look at. */
let base: string;

const augment = <T = AugmentReport>(out: string, args: readonly string[] = [], code = 0, input = data) =>
  runJson<T>(["augment", "--in", input, "--out", out, "--workers", "0", ...args], code, HERE);
const replayed = (manifest: string, args: readonly string[] = [], code = 0) =>
  runJson<ReplayReport>(["replay", manifest, "--workers", "0", ...args], code, HERE);
const manifestOf = (out: string) => join(out, "manifest.jsonl");
function linesOf(out: string): [ManifestHeader, ...ManifestLine[]] {
  const lines = readFileSync(manifestOf(out), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line)) as [ManifestHeader, ...ManifestLine[]];
}
const outputsOf = (out: string) => linesOf(out).slice(1) as ManifestLine[];

beforeAll(async () => {
  tiles = await drawTiles(20, 32);
  data = fresh("data");
  mkdirSync(data);
  writeTiles(data, tiles);
  base = fresh("base");
  await augment(base, ["--method", METHODS, "--copies", "2", "--p", "0.8", "--seed", "11"]);
});

describe("augment", () => {
  it("writes copies beside one another, with labels and masks as they were, and says what was done", async () => {
    const lines = outputsOf(base);
    expect(lines).toHaveLength(40);
    const inputs = new Map(tiles.map((tile) => [`${tile.label}/center${tile.center}/${tile.key}`, tile]));
    for (const { key, copy, output, label, sha256, ops } of lines) {
      const tile = inputs.get(key)!;
      expect(output).toBe(`${key}__${copy}.png`);
      expect(label).toBe(tile.label);
      const bytes = readFileSync(join(base, output!));
      expect(sha256).toEqual({ in: sha(tile.file), out: sha(bytes) });
      expect(readFileSync(join(base, `${key}__${copy}_mask.png`)).equals(tile.mask)).toBe(true);
      const { data: pixels } = await sharp(bytes).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      const isSame = pixels.equals(tile.image.data);
      expect(isSame, output).toBe(!ops!.some(({ applied }) => applied));
      if (ops![0]) expect(ops![0]).toMatchObject({ version: 1, applied: expect.any(Boolean), params: expect.any(Object) });
    }
    const names = lines.map(({ ops }) => ops![0]?.op ?? "none");
    expect(new Set(names)).toEqual(new Set([...METHODS.replace(":2", "").split(","), "none"]));
    // A following sample's look, further on for the second copy.
    const order = [...inputs.keys()].sort();
    for (const { key, copy, ops } of lines) {
      const style = ops![0]?.style;
      if (style) expect(style.key).toBe(order[(order.indexOf(key) + copy) % order.length]);
      if (style) expect(style.sha256).toBe(sha(inputs.get(style.key)!.file));
    }
  });

  it("gives the same bytes whatever the batch and the workers, and others for another seed", async () => {
    const other = fresh("other");
    const args = ["--method", METHODS, "--copies", "2", "--p", "0.8"];
    const finished = await run([
      "augment",
      "--in",
      data,
      "--out",
      other,
      ...args,
      "--seed",
      "11",
      "--batch",
      "3",
      "--workers",
      "2",
    ]);
    expect(finished.code, finished.stderr).toBe(0);
    expect(readFileSync(manifestOf(other), "utf8")).toBe(readFileSync(manifestOf(base), "utf8"));
    expect(listFiles(other)).toEqual(listFiles(base));
    const seeded = fresh("seeded");
    await augment(seeded, [...args, "--seed", "12"]);
    const shown = (out: string) => outputsOf(out).map(({ ops }) => JSON.stringify(ops));
    expect(shown(seeded).filter((line, at) => line === shown(base)[at]).length).toBeLessThan(10);
  });

  it("is recomputed by replay, which says what is not as it was", async () => {
    expect(await replayed(manifestOf(base))).toMatchObject({ outputs: 40, identical: 40, differences: [], sameAdapters: true });
    const out = fresh("changed");
    cpSync(base, out, { recursive: true });
    const lines = linesOf(out);
    const at = (index: number) => lines[index] as ManifestLine;
    const write = () => writeFileSync(manifestOf(out), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const reencode = async (line: ManifestLine, change: (pixels: Buffer) => void) => {
      const file = join(out, line.output!);
      const { data: pixels, info } = await sharp(file).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      change(pixels);
      const { width, height } = info;
      await sharp(pixels, { raw: { width, height, channels: 3 } })
        .png({ compressionLevel: 1, adaptiveFiltering: true })
        .toFile(file);
      line.sha256 = { ...line.sha256!, out: sha(readFileSync(file)) };
    };
    // The same pixels in other bytes; one level off; three; a file that was changed, and a source.
    await reencode(at(1), () => {});
    await reencode(at(2), (pixels) => {
      pixels[7]! += pixels[7]! < 255 ? 1 : -1;
    });
    await reencode(at(3), (pixels) => {
      pixels[7]! += pixels[7]! < 128 ? 3 : -3;
    });
    copyFileSync(join(out, at(5).output!), join(out, at(4).output!));
    at(6).sha256!.in = sha("another");
    write();
    const same = await replayed(manifestOf(out), [], 1);
    // A file that was changed since is noticed where its line says something else than is computed.
    expect(same).toMatchObject({ outputs: 40, identical: 36, samePixels: 1, withinOneLevel: 0 });
    expect(same.differences.map(({ line, levels }) => [line, levels])).toEqual([
      [3, 1],
      [4, 3],
      [7, undefined],
    ]);
    expect(same.differences[2]!.problem).toContain("its image is another one");
    expect(same.stderr).toContain("3 differ");

    lines[0].adapters = { "closed forms": { adapter: "another" } };
    write();
    const elsewhere = await replayed(manifestOf(out), [], 1);
    expect(elsewhere).toMatchObject({ sameAdapters: false, samePixels: 1, withinOneLevel: 1 });
    expect(elsewhere.differences.map(({ line }) => line)).toEqual([4, 7]);
    expect(elsewhere.stderr).toMatch(/another adapter.*one level/);

    expect(await replayed(`${manifestOf(out)}:5`)).toMatchObject({ outputs: 1, identical: 1 });
    expect(await replayed(`${manifestOf(out)}:4`, [], 1)).toMatchObject({ outputs: 1, identical: 0 });
    for (const line of ["1", "42"]) {
      const { error } = await runJson<Failure>(["replay", `${manifestOf(out)}:${line}`], 2, HERE);
      expect(error.message).toMatch(new RegExp(`ine ${line}`));
    }
  });

  it("finds a data set that was moved, and says where it is gone", async () => {
    const [out, before] = [fresh("out"), fresh("before")];
    cpSync(data, before, { recursive: true });
    await augment(out, ["--method", "hed-jitter"], 0, before);
    const after = fresh("after");
    renameSync(before, after);
    const { error } = await runJson<Failure>(["replay", manifestOf(out)], 2, HERE);
    expect(error.message).toContain(before);
    expect(await replayed(manifestOf(out), ["--in", after])).toMatchObject({ outputs: 20, identical: 20 });
  });

  it.runIf(python)("draws what docs/augment_draws.py draws", () => {
    const script = join(root, "docs", "augment_draws.py");
    expect(execFileSync(python!, [script, manifestOf(base)], { encoding: "utf8" })).toContain(
      "40 outputs: all that was drawn is as",
    );
    const out = fresh("lie");
    cpSync(base, out, { recursive: true });
    const text = readFileSync(manifestOf(base), "utf8");
    writeFileSync(manifestOf(out), text.replace(/"seed":11/, '"seed":12'));
    expect(() => execFileSync(python!, [script, manifestOf(out)], { stdio: "pipe" })).toThrow(/AssertionError/);
  });

  it.runIf(python && goldenFolder("stains"))("computes what the oracle computes from the manifest alone, within a level", () => {
    const oracle = join(shared, "reference", "stains.py");
    const script = join(root, "test", "augment", "recompute.py");
    const { worst, count } = JSON.parse(execFileSync(python!, [script, manifestOf(base), oracle], { encoding: "utf8" }));
    expect(Object.keys(count)).toHaveLength(7);
    for (const [name, levels] of Object.entries(worst)) expect(levels, name).toBeLessThanOrEqual(1);
  });

  it("goes on where it was ended, at any byte", async () => {
    const text = readFileSync(manifestOf(base), "utf8");
    const args = ["--method", METHODS, "--copies", "2", "--p", "0.8", "--seed", "11"];
    for (const [bytes, files] of [
      [text.indexOf("\n") + 1, 0],
      [text.indexOf("\n") + 40, 3],
      [Math.floor(text.length * 0.6), 30],
      [text.length - 5, 39],
    ] as const) {
      const out = fresh("killed");
      mkdirSync(out);
      writeFileSync(manifestOf(out), text.slice(0, bytes));
      for (const { output } of outputsOf(base).slice(0, files)) {
        mkdirSync(dirname(join(out, output!)), { recursive: true });
        for (const name of [output!, output!.replace(".png", "_mask.png")]) copyFileSync(join(base, name), join(out, name));
      }
      const { skipped } = await augment(out, args);
      expect(skipped % 8).toBe(0);
      expect(readFileSync(manifestOf(out), "utf8")).toBe(text);
      expect(listFiles(out)).toEqual(listFiles(base));
    }
    const again = fresh("again");
    cpSync(base, again, { recursive: true });
    const idle = await augment(again, args);
    expect(idle).toMatchObject({ skipped: 20, outputs: 0 });
    expect(idle.stderr).toContain("nothing left to do");
    const { error } = await augment<Failure>(again, [...args, "--style-crop"], 2);
    expect(error.message).toContain("pipeline.styleCrop was false and is true");
    expect(error.fix).toContain("--overwrite");
    expect(await augment(again, [...args, "--style-crop", "--overwrite"])).toMatchObject({ outputs: 40, skipped: 0 });
  });

  it("keeps originals byte for byte", async () => {
    const out = fresh("kept");
    expect(await augment(out, ["--method", "hed-jitter", "--keep-originals"])).toMatchObject({ outputs: 40, restyled: 20 });
    for (const { key, file } of tiles.map((tile) => ({ ...tile, key: `${tile.label}/center${tile.center}/${tile.key}` })))
      expect(readFileSync(join(out, `${key}__0.png`)).equals(file)).toBe(true);
    expect(outputsOf(out).filter(({ copy }) => copy === 0)).toHaveLength(20);
    expect(await replayed(manifestOf(out))).toMatchObject({ outputs: 40, identical: 40 });
  });

  it("takes styles of other domains, of a bank, and squares of them", async () => {
    const domains = fresh("domains");
    await augment(domains, ["--method", "reinhard", "--styles", "domain", "--domain", "2"]);
    for (const { domain, ops } of outputsOf(domains)) {
      expect(domain).toMatch(/^center\d$/);
      const style = ops![0]!.style!;
      expect(style.key).toMatch(/center\d/);
      expect(style.key).not.toContain(`/${domain}/`);
    }
    expect(new Set(outputsOf(domains).map(({ ops }) => ops![0]!.style!.key)).size).toBeGreaterThan(5);
    expect(await replayed(manifestOf(domains))).toMatchObject({ identical: 20 });

    const bank = fresh("bank");
    const styles = join(data, "tumour");
    await augment(bank, ["--method", "histogram-match,macenko-normalise", "--style", styles, "--style-crop"]);
    for (const { ops } of outputsOf(bank)) {
      const { key, crop } = ops![0]!.style!;
      expect(key.startsWith(styles)).toBe(true);
      expect(crop![2]).toBe(crop![3]);
      expect(crop![2]).toBeGreaterThanOrEqual(16);
    }
    expect(await replayed(manifestOf(bank))).toMatchObject({ identical: 20 });

    const test = fresh("test");
    mkdirSync(test);
    copyFileSync(
      join(data, linesOf(base).flatMap((line) => ("source" in line && line.label === "tumour" ? [line.source] : []))[0]!),
      join(test, "renamed.png"),
    );
    const { error } = await augment<Failure>(fresh("no"), ["--method", "reinhard", "--style", styles, "--exclude", test], 2);
    expect(error.message).toMatch(/one is excluded: .*renamed\.png/);
  });

  it("paints with the model, the same alone and beside others, and blends", async () => {
    const small = fresh("small");
    mkdirSync(small);
    writeTiles(small, tiles.slice(0, 6));
    const args = [
      ...micro(),
      "--adapter",
      "software",
      "--method",
      "stylizing-vit:3,hed-jitter",
      "--strength",
      ".3:.9",
      "--seed",
      "4",
    ];
    const [one, three] = [fresh("one"), fresh("three")];
    await augment(one, [...args, "--batch", "1"], 0, small);
    await augment(three, [...args, "--batch", "6"], 0, small);
    expect(readFileSync(manifestOf(three), "utf8")).toBe(readFileSync(manifestOf(one), "utf8"));
    const painted = outputsOf(one).filter(({ ops }) => ops![0]!.op === "stylizing-vit");
    expect(painted.length).toBeGreaterThan(2);
    for (const { ops } of painted)
      expect(ops![0]).toMatchObject({ applied: true, params: { scale: "fit" }, strength: expect.any(Number) });
    expect(await replayed(manifestOf(three), ["--batch", "4", ...args.slice(0, args.indexOf("--adapter"))])).toMatchObject({
      identical: 6,
    });
  });
});

describe("augment in every format", () => {
  it.each(["csv", "npz", "wds", "parquet", "hf"] as const)("%s: from a folder, and again from what it wrote", async (format) => {
    const [out, second] = [fresh(`${format}`), fresh(`${format}-again`)];
    const args = ["--method", "hed-jitter", "--copies", "2", "--keep-originals", "--seed", "3"];
    await augment(out, [...args, "--format", format, "--shard-size", "12"]);
    const lines = outputsOf(out);
    expect(lines.map(({ copy }) => copy)).toEqual(Array.from({ length: 60 }, (_, index) => index % 3));
    const path = format === "npz" ? join(out, npzOf(out)) : out;
    await using set = await openDataSet(path, { format: format as DataFormat });
    const samples = await samplesOf(set);
    expect(samples).toHaveLength(60);
    const pixels = await Promise.all(samples.map(async (sample) => sha((await pixelsOf(sample)).data)));
    const originals = tiles.map(({ image }) => sha(image.data));
    expect(originals.filter((one) => pixels.includes(one))).toHaveLength(20);
    expect(new Set(pixels).size).toBe(60);
    if (python && format !== "parquet") {
      // The same by numpy, Pillow, tarfile and csv: pixels in order, labels, and masks where the format has room for them.
      const rows = pythonReads([[format, path]])
        .get(path)!
        .filter((row) => "pixels" in row);
      expect(rows.map((row) => row.pixels)).toEqual(pixels);
      const number = format === "npz" || format === "wds";
      const classes = rows.map(({ label }) => (number ? ["normal", "tumour"][Number([label].flat()[0])] : label));
      expect(classes).toEqual(lines.map(({ label }) => label));
      const masks = new Map(tiles.map((tile) => [`${tile.label}/center${tile.center}/${tile.key}`, sha(tile.mask)]));
      expect(rows.map(({ mask }) => mask)).toEqual(lines.map(({ key }) => (format === "npz" ? null : masks.get(key))));
    }
    expect(await replayed(manifestOf(out))).toMatchObject({ outputs: 60, identical: 60 });
    // What a manifest says and what is there are compared by place.
    const text = readFileSync(manifestOf(out), "utf8");
    const wrong = lines[37]!.sha256!.out;
    writeFileSync(manifestOf(out), text.replaceAll(wrong, sha("another")));
    const { differences } = await replayed(manifestOf(out), [], 1);
    expect(differences.map(({ line, problem }) => [line, problem.includes("changed since")])).toEqual([[39, true]]);
    writeFileSync(manifestOf(out), text);

    await augment(second, ["--method", "hed-jitter", "--seed", "3"], 0, path);
    expect(outputsOf(second)).toHaveLength(60);
    expect(linesOf(second)[0].input.format).toBe(format);
    expect(await replayed(manifestOf(second))).toMatchObject({ identical: 60 });
  });
});

const npzOf = (out: string) => listFiles(out).find((name) => name.endsWith(".npz"))!;

describe("bad input", () => {
  it.each([
    [["--p", "1.5"], /from 0 to 1/],
    [["--p", ".5", "--portion", ".5"], /one: give either/],
    [["--method", "reinhard,reinhard"], /named twice/],
    [["--method", "reinhart"], /Did you mean reinhard/],
    [["--method", "hed-jitter", "--params", '{"scale":[1]}'], /scale/],
    [["--styles", "bank"], /no style for the bank/],
    [["--styles", "domain"], /no domain.*--domain/],
    [["--strength", ".9:.1"], /A:B/],
    [["--style", "/no/such/style"], /\/no\/such\/style/],
    [["--style", fresh()], /no style image/],
    [["--styles", "roll", "--style", "."], /--styles bank/],
    [["--format", "zip"], /zip/],
    [["--copies", "0"], /positive/],
  ])("is refused before anything is written: %s", async (args, message) => {
    const out = fresh("out");
    const { code, stderr } = await run(["augment", "--in", data, "--out", out, "--method", "colorist", ...args], HERE);
    expect(code, stderr).toBe(2);
    expect(stderr).toMatch(message);
    expect(existsSync(out)).toBe(false);
  });

  it("is refused where results and data lie in one another, or there is something else", async () => {
    for (const out of [join(data, "out"), data, dirname(data)]) {
      const { error } = await augment<Failure>(out, ["--method", "colorist"], 2);
      expect(error.message).toContain("lie in one another");
    }
    const out = fresh("out");
    mkdirSync(out);
    writeFileSync(join(out, "thesis.txt"), "mine");
    const { error } = await augment<Failure>(out, ["--method", "colorist"], 2);
    expect(error.message).toContain("thesis.txt");
    for (const input of [fresh(), join(data, "nothing")]) {
      const { error: none } = await augment<Failure>(fresh("o"), ["--method", "colorist"], 2, input);
      expect(none.code).toBe("ARGUMENT");
    }
  });

  it("leaves out a sample that cannot be read, and does the rest", async () => {
    const [input, out] = [fresh("broken"), fresh("out")];
    cpSync(data, input, { recursive: true });
    const broken = join(input, "normal/center0/t00.png");
    writeFileSync(broken, readFileSync(broken).subarray(0, 200));
    appendFileSync(join(input, "index.json"), " ");
    const report = await augment(out, ["--method", "reinhard,hed-jitter", "--copies", "2"], 1, input);
    expect(report).toMatchObject({ samples: 20, outputs: 38, failed: 2 });
    expect(report.stderr).toContain("t00.png");
    const failed = outputsOf(out).filter(({ error }) => error);
    expect(failed.map(({ key, copy, error }) => [key, copy, error!.code])).toEqual([
      ["normal/center0/t00", 1, "IMAGE"],
      ["normal/center0/t00", 2, "IMAGE"],
    ]);
    // Nobody takes its look.
    expect(readFileSync(manifestOf(out), "utf8")).not.toContain('"style":{"key":"normal/center0/t00"');
    expect(await replayed(manifestOf(out))).toMatchObject({ outputs: 38, identical: 38, skipped: 2 });
    rmSync(broken);
    const { differences } = await replayed(manifestOf(out), [], 1);
    expect(differences[0]!.problem).toContain("the data set has");
  });
});
