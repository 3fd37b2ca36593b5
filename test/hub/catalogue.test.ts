import { describe, expect, it } from "vitest";
import { listModels, resolveModelName } from "../../src/hub/catalogue.js";

describe("the catalogue", () => {
  it("has three presets of seven datasets", () => {
    const names = listModels().map((e) => e.name);
    expect(names).toHaveLength(21);
    expect(new Set(names).size).toBe(21);
    for (const { name, preset, dataset, repo } of listModels()) {
      expect(name).toBe(`${preset}/${dataset}`);
      expect(repo).toBe(`sdoerrich97/stylizing_vit_${preset}_${dataset}`);
    }
    expect(names).toEqual(expect.arrayContaining(["tiny/epistr", "small/ddi_65_43_21", "base/cholec80"]));
  });

  it("has means and deviations exactly where they were published", () => {
    const published = listModels().filter((e) => e.mean !== undefined);
    expect(new Set(published.map((e) => e.dataset))).toEqual(new Set(["camelyon17wilds", "epistr", "fitzpatrick17k_12_34_56"]));
    expect(published).toHaveLength(9);
    expect(listModels().filter((e) => e.std !== undefined)).toEqual(published);
    expect(resolveModelName("small/epistr").entry).toMatchObject({
      mean: [0.736, 0.5158, 0.8072],
      std: [0.1948, 0.2434, 0.1438],
    });
  });
});

describe("resolveModelName", () => {
  it.each([
    ["base/camelyon17wilds", undefined],
    ["base/camelyon17wilds@refs/pr/1", "refs/pr/1"],
    ["sdoerrich97/stylizing_vit_base_camelyon17wilds", undefined],
    ["sdoerrich97/stylizing_vit_base_camelyon17wilds@main", "main"],
  ])("knows %s", (name, revision) => {
    expect(resolveModelName(name)).toMatchObject({ entry: { name: "base/camelyon17wilds" }, revision });
  });

  it.each([
    ["base/camelyon17", "base/camelyon17wilds"],
    ["Tiny/EpiSTR", "tiny/epistr"],
    ["sdoerrich97/stylizing_vit_small_colec80", "small/cholec80"],
    ["smal/ddi_12_34_56@main", "small/ddi_12_34_56"],
  ])("answers %s with %s first", (name, near) => {
    expect(() => resolveModelName(name)).toThrow(
      expect.objectContaining({ code: "ARGUMENT", message: expect.stringContaining(`Nearest names: ${near},`) }),
    );
  });

  it.each(["", "@main", "base/camelyon17wilds@", "x".repeat(100_000)])("refuses %.20s", (name) => {
    expect(() => resolveModelName(name)).toThrow(expect.objectContaining({ code: "ARGUMENT" }));
  });
});
