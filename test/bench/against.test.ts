import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type AgainstRequest, type AgainstRow, benchAgainst, difference, isDecided, judge } from "../../bench/against.js";
import { type Options, parseOptions, UsageError } from "../../bench/options.js";
import { Report } from "../../bench/report.js";
import { medianInterval } from "../../bench/statistics.js";
import { root } from "../support/fixtures.js";

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

describe("the interval of a median", () => {
  it("is that of the tables of the sign test", () => {
    // Conover, Practical Nonparametric Statistics: the k-th from either end.
    const table = { 6: 1, 8: 1, 9: 2, 12: 3, 15: 4, 20: 6, 25: 8, 48: 17 };
    for (const [n, k] of Object.entries(table)) expect(medianInterval(upTo(+n), 0.95), n).toEqual([k, +n + 1 - k]);
    expect(medianInterval(upTo(8), 0.99)).toEqual([1, 8]);
    expect(medianInterval(upTo(12), 0.99)).toEqual([2, 11]);
  });

  it("is none of too few samples", () => {
    for (const n of [0, 1, 2, 5]) expect(medianInterval(upTo(n), 0.95)).toBeUndefined();
    expect(medianInterval(upTo(7), 0.99)).toBeUndefined();
  });

  it("sorts, and one outlier does not move it far", () => {
    expect(medianInterval([5, 1, 4, 2, 1e9, 3, 7, 6, 9, 8, 11, 10], 0.95)).toEqual([3, 10]);
  });

  it("holds the true median in 95 of 100 draws or more, of a skewed distribution too", () => {
    let state = 7;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 8) / 2 ** 24;
    };
    let held = 0;
    for (let draw = 0; draw < 2000; draw++) {
      const [low, high] = medianInterval(
        Array.from({ length: 12 }, () => -Math.log(1 - random())),
        0.95,
      )!;
      if (low <= Math.LN2 && Math.LN2 <= high) held++;
    }
    // Exactly 96.1 % of draws, for twelve samples.
    expect(held / 2000).toBeGreaterThan(0.95);
    expect(held / 2000).toBeLessThan(0.975);
  });
});

describe("the verdict", () => {
  const rounds = (...ratios: number[]) =>
    ratios.map((ratio, i) => ({ commit: ratio * (10 + i), here: 10 + i, first: "commit" as const }));
  const around = (ratio: number, spread: number) => rounds(...upTo(12).map((i) => ratio + spread * (i - 6.5)));

  it("is of the median of the rounds' ratios, whatever they took", () => {
    expect(judge(rounds(1, 2, 3), undefined)).toMatchObject({ ratio: 2, interval: null, verdict: "too few rounds to tell" });
    expect(judge(around(1.1, 0.001), undefined).verdict).toBe("here is faster");
    expect(judge(around(0.9, 0.001), undefined).verdict).toBe("here is slower");
    expect(judge(around(1.01, 0.01), undefined).verdict).toBe("no difference shown");
  });

  it("holds the ratio against the bound and says where that is a guess", () => {
    expect(judge(around(0.9, 0.001), 0.98)).toMatchObject({ failed: true, verdict: "FAILED: below 0.98" });
    expect(judge(around(1, 0.001), 0.98)).toMatchObject({ failed: false, verdict: "not below 0.98" });
    expect(judge(around(0.97, 0.02), 0.98)).toMatchObject({
      failed: true,
      verdict: "FAILED: below 0.98, but too wide to tell",
    });
    expect(judge(around(0.99, 0.02), 0.98)).toMatchObject({ failed: false, verdict: "not below 0.98, but too wide to tell" });
    expect(judge(rounds(1, 1), 2)).toMatchObject({ failed: true, verdict: "FAILED: below 2, but too few rounds to tell" });
  });

  it("is final where the interval lies on one side, or is narrow", () => {
    const ratios = (ratio: number, spread: number) => upTo(12).map((i) => ratio + spread * (i - 6.5));
    expect(isDecided(ratios(1, 0.001), undefined)).toBe(true);
    expect(isDecided(ratios(1, 0.01), undefined)).toBe(false);
    expect(isDecided(ratios(1.1, 0.01), undefined)).toBe(true);
    expect(isDecided(ratios(1, 0.01), 0.98)).toBe(false);
    expect(isDecided(ratios(1.05, 0.01), 0.98)).toBe(true);
    expect(isDecided(ratios(0.9, 0.01), 0.98)).toBe(true);
    expect(isDecided([1, 1, 1], 0.98)).toBe(false);
  });
});

it("a difference of pictures is in levels and in how many values have one", () => {
  expect(difference(Uint8Array.of(1, 2, 3, 4), Uint8Array.of(1, 2, 5, 3))).toEqual({ levels: 2, share: 0.5 });
  expect(difference(Uint8Array.of(1), Uint8Array.of(1, 2)).levels).toBe(255);
});

describe("--against", () => {
  const parse = (...args: string[]) => parseOptions(["--against", "HEAD~2", ...args]) as Options;

  it("takes models with or without a batch", () => {
    const cases = (...args: string[]) => parse(...args).against!.cases.map(({ model, batch }) => `${model}:${batch}`);
    expect(cases()).toEqual(["demo:4", "tiny:1"]);
    expect(cases("--batch", "2")).toEqual(["demo:2", "tiny:2"]);
    expect(cases("--model", "base:64,demo")).toEqual(["base:64", "demo:4"]);
    expect(cases("--model", "demo:3,tiny", "--batch", "1,8")).toEqual(["demo:3", "tiny:1", "tiny:8"]);
    expect(cases("--model")).toEqual(["demo:4", "tiny:1"]);
  });

  it("takes a bound and rounds, and is not there where it is not asked for", () => {
    expect(parse("--fail-below", ".98", "--rounds", "5").against).toMatchObject({
      commit: "HEAD~2",
      failBelow: 0.98,
      rounds: 5,
    });
    expect(parse().against).toMatchObject({ failBelow: undefined, rounds: undefined });
    expect((parseOptions(["--model", "demo"]) as Options).against).toBeUndefined();
  });

  it.each([
    [["--against"], /against/],
    [["--fail-below", ".98"], /belongs to --against/],
    [["--rounds", "4"], /belongs to --against/],
    [["--against", "HEAD", "--fail-below", "much"], /give a ratio/],
    [["--against", "HEAD", "--fail-below", "0"], /give a ratio/],
    [["--against", "HEAD", "--rounds", "0"], /positive whole number/],
    [["--against", "HEAD", "--model", "demo:0"], /NAME:BATCH/],
    [["--against", "HEAD", "--model", "demo:1:2"], /NAME:BATCH/],
    [["--against", "HEAD", "--model", "huge:1"], /choose from/],
    [["--against", "HEAD", "--op", "linear"], /measures nothing else/],
    [["--against", "HEAD", "--cold"], /measures nothing else/],
    [["--against", "HEAD", "--svg", "a.svg"], /measures nothing else/],
  ])("%j is wrong usage", (args, message) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
    expect(() => parseOptions(args)).toThrow(message);
  });
});

/** A library whose pictures are its contents, brighter by `level`, after so many milliseconds. */
const library = (milliseconds: number, level = 0) => `
const sleep = () => new Promise((resolve) => setTimeout(resolve, ${milliseconds}));
export class StylizingViT {
  config = { image_size: 8, in_channels: 3 };
  report = { adapter: { name: "none", driver: "none" }, tier: "f32" };
  static async load() { return new StylizingViT(); }
  async stylize(contents) { await sleep(); return contents.map((one) => ({ ...one, data: one.data.map((x) => x | ${level}) })); }
  async *stream(pairs) { yield { images: await this.stylize(pairs.map((pair) => pair.content)), timing: { host: ${milliseconds / 5} } }; }
  async [Symbol.asyncDispose]() {}
}
`;

// Not the library, whose times a busy machine would make anything of; everything else is what `npm run bench` runs.
describe("a repository", () => {
  const folders: string[] = [];
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  const temporary = () => {
    folders.push(mkdtempSync(join(tmpdir(), "stylizing-vit-repository-")));
    return folders.at(-1)!;
  };
  const git = (folder: string, ...args: string[]) =>
    execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@localhost", ...args], {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });

  /** One with a commit that holds `committed`, and a build of something else. */
  function repository(committed: string, here: string): string {
    const folder = temporary();
    const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
    for (const name of ["src", "dist"]) mkdirSync(join(folder, name));
    write("package.json", '{ "type": "module" }');
    write("package-lock.json", "{}");
    write(".gitignore", "node_modules\ndist\n");
    const compilerOptions = {
      target: "ES2022",
      module: "NodeNext",
      types: ["node"],
      strict: false,
      outDir: "dist",
      rootDir: "src",
    };
    write("tsconfig.json", JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck: true }, include: ["src"] }));
    write("src/index.ts", committed);
    write("dist/index.js", here);
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "junction");
    git(folder, "init", "--quiet");
    git(folder, "add", ".");
    git(folder, "commit", "--quiet", "--no-gpg-sign", "-m", "one");
    return folder;
  }

  const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`stylizing-vit-against-${process.pid}-`));
  const trees = (folder: string) => git(folder, "worktree", "list").trim().split("\n").length;

  async function against(folder: string, more: Partial<AgainstRequest> = {}, onText?: (text: string) => void) {
    let printed = "";
    const report = new Report((text) => {
      printed += text;
      onText?.(text);
    });
    await benchAgainst(
      {
        commit: "HEAD",
        failBelow: undefined,
        rounds: undefined,
        cases: [{ model: "demo", batch: 2 }],
        precisions: ["f32"],
        adapter: "auto",
        quick: true,
        root: folder,
        child: join(root, "bench", "against-child.mjs"),
        ...more,
      },
      report,
    );
    return { printed, report, rows: report.document.against as AgainstRow[] };
  }

  it("is built at the commit and measured beside what is built here, and nothing is left of it", async () => {
    const folder = repository(library(20), library(5));
    const { rows, report, printed } = await against(folder);
    expect(rows.map(({ what }) => what)).toEqual(["pair", "javascript", "cold"]);
    const [pair, javascript, cold] = rows as [AgainstRow, AgainstRow, AgainstRow];
    expect(pair.ratio).toBeGreaterThan(1.3);
    expect(pair.interval![0]).toBeLessThan(pair.interval![1]);
    expect(javascript).toMatchObject({ ratio: 4, interval: [4, 4], verdict: "here is faster" });
    expect(cold.commit.median).toBeGreaterThan(20);
    expect(pair.rounds.slice(0, 4).map(({ first }) => first)).toEqual(["commit", "here", "commit", "here"]);
    expect(report.document).toMatchObject({ schemaVersion: 1, againstCommit: git(folder, "rev-parse", "HEAD").trim() });
    expect(report.failures).toEqual([]);
    expect(printed).toMatch(/demo, JavaScript a batch +4\.00 ms +1\.00 ms +4\.000 +4\.000 – 4\.000 +8 +here is faster/);
    expect(left()).toEqual([]);
    expect(trees(folder)).toBe(1);
    expect(existsSync(join(root, "node_modules", "typescript"))).toBe(true);
  });

  it("fails where a ratio is below the bound, and where the pictures are others", async () => {
    const folder = repository(library(10), library(20));
    const slow = await against(folder, { failBelow: 0.9, rounds: 1 });
    expect(slow.report.failures[1]).toBe("demo, JavaScript a batch: 0.500, below 0.9, but too few rounds to tell");
    writeFileSync(join(folder, "dist", "index.js"), library(10, 1));
    const dim = await against(folder, { rounds: 1 });
    expect(dim.report.failures).toEqual([]);
    expect(dim.rows[0]!.pixels.levels).toBe(1);
    expect(dim.printed).toContain("the pictures are not quite the same");
    writeFileSync(join(folder, "dist", "index.js"), library(10, 2));
    const wrong = await against(folder, { rounds: 1 });
    expect(wrong.rows).toEqual([]);
    expect(wrong.report.failures).toHaveLength(3);
    expect(wrong.report.failures[0]).toMatch(/pictures are not the same: .* by 2 of 255 levels at most, and 1 allowed/);
  });

  it("may have no such commit, or one that does not build, or be none", async () => {
    const folder = repository(`${library(1)}\nconst wrong: number = "text";`, library(1));
    await expect(against(folder, { commit: "no-such" })).rejects.toThrow(UsageError);
    await expect(against(folder, { commit: "--version" })).rejects.toThrow(UsageError);
    await expect(against(folder)).rejects.toThrow(/does not build: .*TS2322/s);
    expect(left()).toEqual([]);
    expect(trees(folder)).toBe(1);
    await expect(against(temporary())).rejects.toThrow(/needs a git checkout/);
    const path = process.env.PATH;
    process.env.PATH = "";
    try {
      await expect(against(folder)).rejects.toThrow(/needs git/);
    } finally {
      process.env.PATH = path;
    }
  });

  it("is cleaned up when stopped, and of what a killed run has left", async () => {
    const folder = repository(library(1), library(1));
    const dead = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
    const stale = join(tmpdir(), `stylizing-vit-against-${dead}-stale`);
    folders.push(stale);
    git(folder, "worktree", "add", "--detach", join(stale, "tree"), "HEAD");
    git(folder, "worktree", "lock", join(stale, "tree"));
    expect(trees(folder)).toBe(2);
    // The title of the table stands, and the first case is under way.
    const stopping = against(folder, { cases: [{ model: "demo", batch: 1 }] }, (text) => {
      if (text.startsWith("case")) setTimeout(() => process.emit("SIGHUP"), 100);
    });
    await expect(stopping).rejects.toThrow("stopped");
    expect(process.exitCode).toBe(130);
    process.exitCode = undefined;
    expect(left()).toEqual([]);
    expect(existsSync(stale)).toBe(false);
    expect(trees(folder)).toBe(1);
    expect(readFileSync(join(root, "node_modules", "typescript", "package.json"), "utf8")).toContain("typescript");
  });
});
