import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** The rooms of src/ as its own imports draw them. */
const root = fileURLToPath(new URL("../../src/", import.meta.url));
const files = readdirSync(root, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.replaceAll("\\", "/"));
const text = (file: string) => readFileSync(join(root, file), "utf8");

/** Files that a file imports, for types alone as well. */
const imports = (file: string): string[] =>
  [...text(file).matchAll(/(?:from|import) "(\.[^"]+)\.js"|import\("(\.[^"]+)\.js"\)/g)].map(
    ([, one, other]) => `${relative(root, join(root, dirname(file), (one ?? other)!)).replaceAll("\\", "/")}.ts`,
  );

/** Upper rooms first; those of one line do not know each other. */
const FLOORS = [
  ["command"],
  ["index.ts", "serve"],
  ["augment"],
  ["train", "painter", "classifier", "onnx", "restyle", "metrics"],
  ["models"],
  ["losses", "detail"],
  ["net"],
  ["ops"],
  ["gpu"],
  ["hub", "labels", "datasets"],
  ["image", "tissue"],
  ["version.ts", "random.ts", "runs.ts", "globals.ts", "errors.ts", "webgpu-fallback.ts"],
];
const roomOf = (file: string) => file.split("/")[0]!;
const floorOf = (file: string) => FLOORS.findIndex((rooms) => rooms.includes(roomOf(file)));

describe("the house", () => {
  it("has no room that is not drawn", () => {
    expect(files.filter((file) => floorOf(file) < 0)).toEqual([]);
  });

  it("has no arrow up, nor between rooms of one floor", () => {
    const up = files.flatMap((file) =>
      imports(file)
        .filter((to) => roomOf(to) !== roomOf(file) && floorOf(to) <= floorOf(file) && floorOf(file) < FLOORS.length - 1)
        .map((to) => `${file} -> ${to}`),
    );
    expect(up).toEqual([]);
  });

  it("has no circle of files", () => {
    const done = new Set<string>();
    const circles: string[] = [];
    const walk = (file: string, path: readonly string[]) => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      else if (!done.has(file)) {
        for (const to of imports(file)) if (files.includes(to)) walk(to, [...path, file]);
        done.add(file);
      }
    };
    for (const file of files) walk(file, []);
    expect(circles).toEqual([]);
  });

  it("has no file above 400 lines", () => {
    expect(files.filter((file) => text(file).split("\n").length > 401)).toEqual([]);
  });

  it("says no model's name and no parameter's in net/ and train/", () => {
    const names =
      /stylizing|vgg|\bdino\b|\bdeit\b|\bvit\b|encoder\.(blocks|norm)|bottleneck|patch_embed|pos_embed|cls_token|q_proj|out_proj|norm_(input|context)|post_process|identity"|consistency|anatomical|stylized/i;
    const found = files
      .filter((file) => /^(net|train)\//.test(file))
      .flatMap((file) =>
        text(file)
          .split("\n")
          // The project's own name, in its files' formats and commands.
          .map((line) => line.replaceAll(/StylizingError|stylizing-vit( training 1|"\]?: string|_)|STYLIZING_VIT/g, ""))
          .flatMap((line, at) => (names.test(line) ? [`${file}:${at + 1} ${line.trim()}`] : [])),
      );
    expect(found).toEqual([]);
  });
});
