import { expect } from "vitest";

const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength);

// Numbers of the same bits are equal, which `toEqual` takes microseconds each to find out; others it looks at itself.
expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    (one instanceof Float32Array && other instanceof Float32Array && bytes(one).equals(bytes(other))) || undefined,
]);
