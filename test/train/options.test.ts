import { copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { Trainer, type TrainerOptions } from "../../src/train/trainer.js";
import { fakeHost } from "./fake-host.mjs";
import { newRun, options, root, writeImages } from "./runs.js";

beforeAll(async () => {
  await writeImages("training", 14);
  await writeImages("judging", 7);
});

/** What comes of options that types would not let through. */
const refusal = (given: unknown) =>
  Trainer.create(given as TrainerOptions, fakeHost()).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("options of wrong types are refused, with the cure", () => {
  it.each<[string, object, RegExp]>([
    ["a folder instead of a list", { data: "tiles" }, /^data is "tiles"\. Give a list of texts: \["tiles"\]\.$/],
    ["a folder to validate with", { val: "tiles" }, /^val is "tiles"\. Give a list of texts: \["tiles"\]\.$/],
    ["a list of none", { data: [undefined] }, /^data is \[null\]\. Give a list of texts\.$/],
    ["no folder for the run", { out: undefined }, /^out is undefined\. Give the folder/],
    ["an empty one", { out: "" }, /^out is ""\. Give the folder/],
    ["several", { out: ["a", "b"] }, /^out is \["a","b"\]\. Give a text\.$/],
    ["a word for a flag", { resume: "yes" }, /^resume is "yes"\. Give true or false\.$/],
    ["a number for a flag", { flips: 1 }, /^flips is 1\. Give true or false\.$/],
    ["a number for a model", { init: 5 }, /^init is 5\. Give a text\.$/],
    ["a list for a configuration", { config: [] }, /^config is \[\]\. Give a text, or an object\.$/],
    ["one number for a mean", { mean: 0.5 }, /^mean is 0\.5\. Give a list of numbers\.$/],
    ["numbers as words", { epochs: "4" }, /^epochs is 4\. Give a positive whole number\.$/],
    ["a number without an end", { lr: 1n }, /^lr is 1\. Give a positive number\.$/],
    ["a controller for its signal", { signal: new AbortController() }, /^signal is \{\}\. Give an AbortSignal\.$/],
    ["a word for a function", { onNote: "log" }, /^onNote is "log"\. Give a function\.$/],
    ["a list of weights", { lossWeights: [1, 2] }, /^lossWeights is \[1,2\]\. Give an object\.$/],
    ["a number for a network", { vgg: 19 }, /^vgg is 19\. Give a text\.$/],
    ["a share in words", { task: "classify", vgg: undefined, valPortion: ".2" }, /^valPortion is "\.2"\. Give a number\.$/],
    ["weights in a word", { task: "classify", vgg: undefined, classWeights: "even" }, /^classWeights are even\. Give "balanced"/],
    ["a weight of a class", { task: "classify", vgg: undefined, classWeights: 2 }, /^classWeights is 2\. Give a text, or a list/],
    ["a task that is none", { task: 3 }, /^Unknown task 3/],
  ])("%s", async (_, changes, message) => {
    const out = newRun();
    const error = await refusal({ ...options(out), ...changes });
    expect(error).toBeInstanceOf(StylizingError);
    expect(error).toMatchObject({ code: "ARGUMENT", message: expect.stringMatching(message) });
    expect(existsSync(out)).toBe(false);
  });

  it("none at all, and a trainer that is made by new", async () => {
    for (const none of [undefined, null, "my-model"])
      expect(await refusal(none)).toMatchObject({ name: "StylizingError", code: "ARGUMENT", fix: expect.stringMatching(/\w/) });
    const Any = Trainer as unknown as new (...args: unknown[]) => Trainer;
    for (const args of [[], [options(newRun())]])
      expect(() => new Any(...args)).toThrow(
        expect.objectContaining({ code: "ARGUMENT", fix: expect.stringContaining("Trainer.create") }),
      );
  });
});

describe("validation images that are training images", () => {
  const notesOf = async (val: string[]) => {
    const notes: string[] = [];
    await using _ = await Trainer.create(options(newRun(), { val, onNote: (text) => notes.push(text) }), fakeHost());
    return notes.filter((text) => text.includes("training images too"));
  };

  it("are said, by where their paths lead", async () => {
    expect(await notesOf([join(root, "judging")])).toEqual([]);
    const mixed = join(root, "mixed");
    mkdirSync(mixed);
    const names = readdirSync(join(root, "training"));
    for (const name of names.slice(0, 3)) symlinkSync(join(root, "training", name), join(mixed, `link-${name}`));
    for (const name of names.slice(3, 5)) copyFileSync(join(root, "training", name), join(mixed, name));
    const first = join(mixed, `link-${names[0]}`);
    expect(await notesOf([mixed])).toEqual([
      `3 of 5 validation images are training images too, ${first} for one: they do not tell how new images fare`,
    ]);
  });

  it("are not refused, all of them neither", async () => {
    expect(await notesOf([join(root, "judging", "..", "training")])).toEqual([
      expect.stringMatching(/^all 14 validation images are/),
    ]);
  });
});
