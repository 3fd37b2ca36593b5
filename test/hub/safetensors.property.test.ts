import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { StylizingError } from "../../src/errors.js";
import { SafetensorsFile } from "../../src/hub/safetensors.js";
import { floats, safetensorsBytes, temporaryFolder } from "./files.js";

/** Opens and reads everything: right values or a CHECKPOINT error, and nothing else. */
async function survives(path: string, bytes: Uint8Array): Promise<"read" | "refused"> {
  await writeFile(path, bytes);
  try {
    await using file = await SafetensorsFile.open(path);
    for (const { name, dtype, begin, end, shape } of file.tensors.values()) {
      if (!/^B?F(16|32)$/.test(dtype)) continue;
      const values = await file.read(name, { finite: false });
      expect(values.length).toBe(shape.reduce((a, b) => a * b, 1));
      if (dtype !== "F32") continue;
      const data = bytes.length - Math.max(...[...file.tensors.values()].map((t) => t.end));
      expect(new Uint8Array(values.buffer)).toEqual(bytes.slice(data + begin, data + end));
    }
    return "read";
  } catch (error) {
    if (!(error instanceof StylizingError)) throw error;
    expect(error.code).toBe("CHECKPOINT");
    return "refused";
  }
}

const HEADER = {
  __metadata__: { format: "pt" },
  a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: "F16", shape: [2], data_offsets: [16, 20] },
  c: { dtype: "I8", shape: [4], data_offsets: [20, 24] },
};
const GOOD = safetensorsBytes(HEADER, floats(1, 2, 3, 4, 5, 6));
const TIMEOUT = 30_000;

it("survives any bytes changed, removed or added", { timeout: TIMEOUT }, async () => {
  const path = join(await temporaryFolder(), "x.safetensors");
  expect(await survives(path, GOOD)).toBe("read");
  const edit = fc.record({ at: fc.nat(GOOD.length - 1), remove: fc.nat(12), insert: fc.uint8Array({ maxLength: 12 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      let bytes = [...GOOD];
      for (const { at, remove, insert } of edits) bytes = [...bytes.slice(0, at), ...insert, ...bytes.slice(at + remove)];
      await survives(path, Uint8Array.from(bytes));
    }),
    { numRuns: 1000 },
  );
});

it("survives any single byte of the frame and header replaced", { timeout: TIMEOUT }, async () => {
  const path = join(await temporaryFolder(), "x.safetensors");
  await fc.assert(
    fc.asyncProperty(fc.nat(GOOD.length - 25), fc.nat(255), async (at, value) => {
      await survives(path, GOOD.with(at, value));
    }),
    { numRuns: 1000 },
  );
});

it("survives any header, and allocates nothing a lying one asks for", { timeout: TIMEOUT }, async () => {
  const path = join(await temporaryFolder(), "x.safetensors");
  const size = fc.oneof(fc.nat(6), fc.constantFrom(2 ** 31, 2 ** 40, 2 ** 53, 1e308, -1, 0.5, -0), fc.anything());
  const entry = fc.record(
    {
      dtype: fc.oneof(fc.constantFrom("F32", "F16", "BF16", "I64", "F4", "F6_E2M3", "BOOL", "valueOf"), fc.anything()),
      shape: fc.oneof(fc.array(size, { maxLength: 4 }), fc.anything()),
      data_offsets: fc.oneof(fc.tuple(size, size), fc.tuple(fc.constant(0), fc.nat(24)), fc.anything()),
    },
    { requiredKeys: [] },
  );
  const header = fc.oneof(
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("__metadata__", "__proto__")), fc.oneof(entry, fc.anything()), {
      maxKeys: 4,
    }),
    fc.record({ a: fc.constant(HEADER.a), b: entry, c: entry }, { requiredKeys: ["a"] }),
    fc.json().map((text) => text as never),
  );
  const outcomes = { read: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(
      header,
      fc.nat(24),
      fc.option(fc.bigInt(0n, 2n ** 64n - 1n), { nil: undefined, freq: 8 }),
      async (value, data, length) => {
        let text: string;
        try {
          text = typeof value === "string" ? value : JSON.stringify(value);
        } catch {
          return; // a value JSON cannot hold
        }
        outcomes[await survives(path, safetensorsBytes(text, new Uint8Array(data), length))]++;
      },
    ),
    { numRuns: 1000 },
  );
  expect(outcomes.refused).toBeGreaterThan(outcomes.read);
});

it("reads back what fits, whatever the shapes", { timeout: TIMEOUT }, async () => {
  const path = join(await temporaryFolder(), "x.safetensors");
  const tensors = fc.uniqueArray(
    fc.tuple(
      fc.string().filter((name) => name !== "__metadata__"),
      fc.array(fc.nat(4), { maxLength: 3 }),
    ),
    { maxLength: 5, selector: ([name]) => name },
  );
  await fc.assert(
    fc.asyncProperty(tensors, async (list) => {
      let end = 0;
      const entries = list.map(([name, shape]) => {
        const begin = end;
        end += 4 * shape.reduce((a, b) => a * b, 1);
        return [name, { dtype: "F32", shape, data_offsets: [begin, end] }] as const;
      });
      const header = `{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(",")}}`;
      const data = Uint8Array.from({ length: end }, (_, i) => (i * 37) % 101);
      expect(await survives(path, safetensorsBytes(header, data))).toBe("read");
    }),
    { numRuns: 300 },
  );
});
