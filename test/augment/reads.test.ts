import { describe, expect, it } from "vitest";
import { type Read, rolled } from "../../src/augment/reads.js";

/** Samples by letter; small ones cannot be read. */
async function* samples(text: string): AsyncGenerator<Read> {
  for (const key of text) {
    const sample = { key, source: key, image: { bytes: new Uint8Array(), ending: "png" } };
    const image = { data: new Uint8Array(1), width: 1, height: 1, channels: 1 } as const;
    yield key === key.toUpperCase()
      ? { sample, image }
      : { sample: { key, source: key, error: new Error(key) }, error: new Error(key) };
  }
}

async function following(text: string, reach: number, from = 0): Promise<string> {
  const shown: string[] = [];
  for await (const { read, following } of rolled(samples(text.slice(from)), reach, () => samples(text)))
    shown.push(`${read.sample.key}:${following.map(({ sample }) => sample.key).join("")}`);
  return shown.join(" ");
}

describe("the samples that follow one", () => {
  it("are the next in order, in a circle", async () => {
    expect(await following("ABCD", 1)).toBe("A:B B:C C:D D:A");
    expect(await following("ABCD", 2)).toBe("A:BC B:CD C:DA D:AB");
    expect(await following("ABCD", 3)).toBe("A:BCD B:CDA C:DAB D:ABC");
  });
  it("pass over what cannot be read", async () => {
    expect(await following("AbCdE", 1)).toBe("A:C b:C C:E d:E E:A");
    expect(await following("aBCd", 2)).toBe("a:BC B:CB C:BC d:BC");
  });
  it("are the same for a run that begins in the middle", async () => {
    for (const text of ["ABCDEF", "AbCdEf", "aBcdEF"])
      for (const from of [1, 2, 3, 5])
        for (const reach of [1, 2, 3])
          expect((await following(text, reach)).split(" ").slice(from).join(" ")).toBe(await following(text, reach, from));
  });
  it("go round more than once where there are few", async () => {
    expect(await following("AB", 5)).toBe("A:BABAB B:ABABA");
    expect(await following("A", 2)).toBe("A:AA");
    expect(await following("a", 2)).toBe("a:");
    expect(await following("", 2)).toBe("");
  });
  it("are none where none are wanted", async () => {
    expect(await following("AbC", 0)).toBe("A: b: C:");
  });
});
