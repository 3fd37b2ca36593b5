import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { ImagePool } from "../../src/image/pool.js";
import { loadSquare } from "../../src/image/preprocess.js";
import { paintTissue } from "../../src/index.js";
import { build } from "../command/command.js";
import { root } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-pool-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 48;
const at = (name: string) => join(folder, name);

async function tissue(name: string, width: number, height = width): Promise<string> {
  const size = Math.max(width, height);
  const { data } = paintTissue({ size, seed: width, hospital: 1 });
  await sharp(data, { raw: { width: size, height: size, channels: 3 } })
    .extract({ left: 0, top: 0, width, height })
    .toFile(at(name));
  return at(name);
}

beforeAll(async () => {
  // The threads run what is compiled.
  await build();
  await tissue("large.jpg", 120, 90);
  await tissue("fitting.png", SIZE);
  await tissue("small.png", 20, 31);
  writeFileSync(at("text.png"), "no image");
});

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each([
  ["threads", 2],
  ["the caller's thread", 0],
])("in %s", (_, workers) => {
  it("images are read as loadSquare reads them, many at once", async () => {
    await using pool = new ImagePool(workers);
    expect(pool).toMatchObject({ workers, note: undefined });
    const names = ["large.jpg", "fitting.png", "small.png"];
    for (const channels of [3, 1] as const) {
      const tasks = Array.from({ length: 12 }, (_, i) => ({ file: at(names[i % 3]!), size: SIZE, channels }));
      const read = await Promise.all(tasks.map((task) => pool.load(task)));
      for (const [index, { milliseconds, ...image }] of read.entries()) {
        expect(image).toEqual({ ...(await loadSquare(tasks[index]!.file, SIZE, channels)), pages: 1 });
        expect(milliseconds).toBeGreaterThan(0);
      }
    }
  });

  it("failures keep their code, message and fix", async () => {
    await using pool = new ImagePool(workers);
    for (const name of ["missing.png", "text.png"]) {
      const expected = (await failure(loadSquare(at(name), SIZE, 3))) as StylizingError;
      const error = (await failure(pool.load({ file: at(name), size: SIZE, channels: 3 }))) as StylizingError;
      expect(error).toBeInstanceOf(StylizingError);
      expect([error.code, error.message, error.fix]).toEqual(["IMAGE", expected.message, expected.fix]);
    }
    const image = await pool.load({ file: at("small.png"), size: SIZE, channels: 3 });
    const lost = await failure(pool.save({ file: at("nowhere/a.png"), image, format: "png" }));
    expect(lost).toMatchObject({
      name: "StylizingError",
      code: "OUTPUT",
      message: expect.stringContaining("there is no folder"),
      // What tells a full disk from other failures.
      cause: expect.objectContaining({ code: "ENOENT" }),
    });
  });

  it("results are written at the model's size or the content's own, also out of shared memory", async () => {
    await using pool = new ImagePool(workers);
    const content = await pool.load({ file: at("large.jpg"), size: SIZE, channels: 3 });
    const data = new Uint8Array(new SharedArrayBuffer(content.data.length));
    data.set(content.data);
    const { placement, source } = content;
    const image = { data, width: SIZE, height: SIZE, channels: 3 } as const;
    const file = at(`out-${workers}.png`);
    expect(await pool.save({ file, image, format: "png" })).toBeGreaterThan(0);
    expect((await sharp(file).raw().toBuffer()).equals(content.data)).toBe(true);
    await pool.save({ file, image, format: "png", fit: { placement, source } });
    expect(await sharp(file).metadata()).toMatchObject({ width: 120, height: 90 });
    expect(readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
  });

  it("what waits can be given up, and the rest goes on", async () => {
    await using pool = new ImagePool(workers);
    const controller = new AbortController();
    const task = { file: at("large.jpg"), size: SIZE, channels: 3 } as const;
    const many = Array.from({ length: 40 }, () => pool.load(task, controller.signal));
    await Promise.resolve();
    controller.abort(new Error("enough"));
    const outcomes = await Promise.allSettled(many);
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused.length).toBeGreaterThanOrEqual(20);
    expect(new Set(refused.map(({ reason }) => (reason as Error).message))).toEqual(new Set(["enough"]));
    expect((await pool.load(task)).width).toBe(SIZE);
  });

  it("dispose lets finish what has begun, refuses the rest, and may be called again", async () => {
    const pool = new ImagePool(workers);
    const task = { file: at("large.jpg"), size: SIZE, channels: 3 } as const;
    await pool.load(task);
    const many = Promise.allSettled(Array.from({ length: 12 }, () => pool.load(task)));
    // So that some have begun.
    await Promise.resolve();
    await Promise.all([pool.dispose(), pool.dispose()]);
    const outcomes = await many;
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(12);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: "DISPOSED" });
    expect(await failure(pool.load(task))).toMatchObject({ code: "DISPOSED" });
  });
});

it.each([-1, 1.5, Number.NaN, "2" as never])("%s threads are refused", (workers) => {
  expect(() => new ImagePool(workers)).toThrow(
    expect.objectContaining({ code: "ARGUMENT", message: expect.stringContaining("workers is") }),
  );
});

it("threads that nobody ended do not keep the process alive, and are not there before they are needed", async () => {
  const pool = join(root, "dist", "image", "pool.js");
  expect(existsSync(pool)).toBe(true);
  const script = at("idle.mjs");
  writeFileSync(
    script,
    `import { ImagePool } from ${JSON.stringify(pathToFileURL(pool).href)};
const pool = new ImagePool(2);
const handles = () => process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
const before = handles();
const { width } = await pool.load({ file: ${JSON.stringify(at("large.jpg"))}, size: 48, channels: 3 });
console.log(JSON.stringify({ before, width }));
`,
  );
  const text = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, [script], { timeout: 20_000 }, (error, stdout) => (error ? reject(error) : resolve(stdout)));
  });
  expect(JSON.parse(text)).toEqual({ before: 0, width: 48 });
});
