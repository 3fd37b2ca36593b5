import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type AgainstRequest, type AgainstRow, benchAgainst } from "../../bench/against.js";
import { UsageError } from "../../bench/options.js";
import { Report } from "../../bench/report.js";
import { root } from "../support/fixtures.js";

/** A library whose images are its contents, brighter by `level`, after so many milliseconds. */
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

  it("fails where a ratio is below the bound, and where the images are others", async () => {
    const folder = repository(library(10), library(20));
    const slow = await against(folder, { failBelow: 0.9, rounds: 1 });
    expect(slow.report.failures[1]).toBe("demo, JavaScript a batch: 0.500, below 0.9, but too few rounds to tell");
    writeFileSync(join(folder, "dist", "index.js"), library(10, 1));
    const dim = await against(folder, { rounds: 1 });
    expect(dim.report.failures).toEqual([]);
    expect(dim.rows[0]!.pixels.levels).toBe(1);
    expect(dim.printed).toContain("the images are not quite the same");
    writeFileSync(join(folder, "dist", "index.js"), library(10, 2));
    const wrong = await against(folder, { rounds: 1 });
    expect(wrong.rows).toEqual([]);
    expect(wrong.report.failures).toHaveLength(3);
    expect(wrong.report.failures[0]).toMatch(/images are not the same: .* by 2 of 255 levels at most, and 1 allowed/);
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
