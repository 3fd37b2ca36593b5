import { createHash } from "node:crypto";

/**
 * What a device is given to do, seen from WebGPU's own calls, so that nothing of how the project puts programs together is in
 * the way: every dispatch with its pipeline's label, its grid, its buffers and its parameter words.
 */
export interface Capture {
  /** The dispatches since the last call, as lines; buffers are numbered in the order of their first use among them. */
  take(): string[];
}

/** Buffers whose contents say which rows belong together; of all others only the use counts. */
const INDICES = /^(sequences|indices|style rows|index\b)/;

interface Dispatch {
  label: string;
  grid: readonly number[];
  buffers: readonly GPUBuffer[];
  words: string;
}

type Call = (...args: never[]) => unknown;

/** Records what goes through `device` from now on. */
export function capture(device: GPUDevice): Capture {
  let seen: Dispatch[] = [];
  const groups = new WeakMap<GPUBindGroup, GPUBuffer[]>();
  const contents = new WeakMap<GPUBuffer, Buffer>();

  const replace = <K extends keyof GPUDevice>(name: K, make: (original: GPUDevice[K]) => unknown) => {
    Object.defineProperty(device, name, { value: make((device[name] as Call).bind(device) as GPUDevice[K]), configurable: true });
  };
  replace("createBindGroup", (original) => (descriptor: GPUBindGroupDescriptor) => {
    const group = original(descriptor);
    const entries = [...descriptor.entries].sort((a, b) => a.binding - b.binding);
    groups.set(
      group,
      entries.map(({ resource }) => (resource as GPUBufferBinding).buffer),
    );
    return group;
  });
  const { queue } = device;
  const write = queue.writeBuffer.bind(queue);
  Object.defineProperty(queue, "writeBuffer", {
    value: (buffer: GPUBuffer, offset: number, data: ArrayBuffer | ArrayBufferView, first?: number, size?: number) => {
      const bytes = ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data);
      // Weights are large and nobody asks for them.
      if (offset === 0 && bytes.length <= 2 ** 20) contents.set(buffer, Buffer.from(bytes));
      write(buffer, offset, data as ArrayBuffer, first as number, size as number);
    },
    configurable: true,
  });
  replace("createCommandEncoder", (original) => (descriptor?: GPUCommandEncoderDescriptor) => {
    const encoder = original(descriptor);
    const begin = encoder.beginComputePass.bind(encoder);
    Object.defineProperty(encoder, "beginComputePass", {
      value: (passDescriptor?: GPUComputePassDescriptor) => {
        const pass = begin(passDescriptor);
        let label = "";
        let buffers: GPUBuffer[] = [];
        let words = "";
        const spy = (name: "setPipeline" | "setBindGroup" | "dispatchWorkgroups", look: (...args: never[]) => void) => {
          const forward = (pass[name] as Call).bind(pass);
          Object.defineProperty(pass, name, {
            value: (...args: never[]) => {
              look(...args);
              return forward(...args);
            },
          });
        };
        spy("setPipeline", (pipeline: GPUComputePipeline) => {
          label = pipeline.label;
        });
        spy("setBindGroup", (index: number, group: GPUBindGroup, offsets?: number[]) => {
          if (index === 0) buffers = groups.get(group)!;
          else {
            const slot = contents.get(groups.get(group)![0]!)!.subarray(offsets![0]!, offsets![0]! + 256);
            words = slot.toString("hex").replace(/(00000000)+$/, "");
          }
        });
        spy("dispatchWorkgroups", (...grid: number[]) => seen.push({ label, grid, buffers, words }));
        return pass;
      },
    });
    return encoder;
  });

  return {
    take() {
      const numbers = new Map<GPUBuffer, number>();
      const number = (buffer: GPUBuffer): string => {
        const known = numbers.get(buffer);
        if (known !== undefined) return String(known);
        numbers.set(buffer, numbers.size);
        const index = INDICES.test(buffer.label) ? contents.get(buffer) : undefined;
        return `${numbers.size - 1}${index ? `=${index.toString("hex")}` : ""}`;
      };
      const lines = seen.map(
        ({ label, grid, buffers, words }) => `${label} [${grid.join()}] (${buffers.map(number).join(" ")}) ${words}`,
      );
      seen = [];
      return lines;
    },
  };
}

const hash = (text: string, digits: number) => createHash("sha256").update(text).digest("hex").slice(0, digits);

/** A program as a recording keeps it: how many dispatches, a hash of them all, and a short one of each to find the first that differs. */
export function fingerprint(lines: readonly string[]): string {
  return `${lines.length} ${hash(lines.join("\n"), 16)} ${lines.map((line) => hash(line, 3)).join("")}`;
}
