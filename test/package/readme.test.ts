import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../support/fixtures.js";

const text = (document: string) => readFileSync(join(root, document), "utf8");
const documents = [
  ...["README.md", "CONTRIBUTING.md", "bench/README.md", "weights/demo/README.md"],
  ...readdirSync(join(root, "docs")).flatMap((name) => (name.endsWith(".md") ? [`docs/${name}`] : [])),
];

/** As GitHub makes them of headings. */
const anchors = (document: string): string[] =>
  [...text(document).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

it("tables of measured figures are what bench/results says", () => {
  const check = () => execFileSync(process.execPath, [join(root, "scripts", "readme-tables.mjs"), "--check"], { stdio: "pipe" });
  expect(check).not.toThrow();
});

it("README's table of accuracy is part of docs/accuracy.md's", () => {
  const [, section] = /## Accuracy\n([\s\S]*?)\n## /.exec(text("README.md"))!;
  const rows = section!.split("\n").filter((line) => line.startsWith("|"));
  expect(rows.length).toBeGreaterThan(3);
  const whole = text("docs/accuracy.md").split("\n");
  expect(rows.filter((row) => !whole.includes(row))).toEqual([]);
});

it.each(documents)("%s names files and headings that are there", (document) => {
  const links = [...text(document).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)];
  const dead = links.filter(([, path, anchor]) => {
    const file = path ? join(dirname(document), path) : document;
    return !existsSync(join(root, file)) || (anchor !== undefined && !anchors(file).includes(anchor));
  });
  expect(dead.map(([link]) => link)).toEqual([]);
});

it("README is short", () => {
  const prose = text("README.md")
    .replaceAll(/```[\s\S]*?```|<!--.*?-->|^\|.*$|!\[.*?\]\(.*?\)|\]\([^)]*\)/gm, " ")
    .split(/\s+/)
    .filter((word) => /[\p{L}\p{N}]/u.test(word));
  expect(prose.length).toBeGreaterThan(800);
  expect(prose.length).toBeLessThan(1050);
});

it("README links every document", () => {
  const readme = text("README.md");
  expect(documents.filter((document) => document.startsWith("docs/") && !readme.includes(`(${document})`))).toEqual([]);
});
