import { type ProgramRequest, STREAMS } from "../models/stylizing-vit/modes.js";
import { Programs, recordMode } from "../models/stylizing-vit/programs.js";
import type { ModelWeights } from "../models/stylizing-vit/weights.js";
import { asFloats, type Pixels, unpadded, writePixels } from "../net/pixels.js";
import type { Recorder } from "../net/recorder.js";
import type { Runner } from "../net/runner.js";
import { imageBytes } from "../ops/images.js";

/** Everything a forward pass computes, for parity: token streams are [images, tokens, D], images [images, C, S, S] normalised. */
export interface Trace {
  stylized: Float32Array;
  /** Decoding of stream A. */
  reconstruction: Float32Array;
  encoded_anatomy: Float32Array;
  encoded_style: Float32Array;
  encoded_stylized: Float32Array;
}

/** Receives the residual streams A, Y, Q, Z after a layer, [images, tokens, D]. */
export type OnLayer = (layer: number, streams: Record<string, Float32Array>) => void;

/** The published 4L passes one by one, with everything they compute: for looking, not for speed. */
export async function traceModel(
  runner: Runner,
  model: ModelWeights,
  { images, ...pixels }: { images: number; content: Pixels; style: Pixels },
  onLayer?: OnLayer,
): Promise<Trace> {
  const { config, layout } = model;
  const { gpu, arena } = runner;
  const request: ProgramRequest = { mode: "plain", images, input: "planes", output: "planes" };
  const rows = 4 * images * layout.tokens * layout.width;
  const bytes = imageBytes({ images, channels: config.in_channels, imageSize: config.image_size }, "planes");
  const slot = (stream: string) => STREAMS.plain.indexOf(stream);
  const describe = (program: (programs: Programs) => void) => (r: Recorder) => program(new Programs(r, model, request));
  const floats = (data: Uint8Array) => unpadded(asFloats(data), layout.width, config.embed_dim);
  // Room for the programs behind the passes, whose streams they read, is made before.
  await runner.exclusively(async () => {
    await runner.reserve("a trace", (r) => recordMode(r, model, request));
    await runner.reserve(
      "a trace",
      describe((programs) => programs.finalNorm(slot("Z"))),
    );
  });
  const taps = new Map<string, GPUBuffer>();
  try {
    const [stylized] = await runner.run(async () => {
      const { program } = await runner.program(`trace ${images}`, "a trace", (r) => recordMode(r, model, request));
      if (onLayer) for (const { name } of program.taps) taps.set(name, gpu.storage(`tap ${name}`, rows));
      return {
        label: "trace",
        programs: [program],
        upload: (encoder) => {
          for (const what of ["content", "style"] as const)
            writePixels(gpu.device.queue, encoder, arena.buffer(what), pixels[what], bytes);
        },
        ...(onLayer
          ? {
              atTap: (encoder, { name, view }) =>
                encoder.copyBufferToBuffer(view.buffer, 4 * view.first, taps.get(name)!, 0, rows),
            }
          : {}),
        reads: [{ buffer: arena.buffer("planes"), bytes }],
      };
    });
    const layers: Record<string, Float32Array>[] = [];
    for (const [name, buffer] of taps) {
      const [layer, stream] = name.split(" ") as [string, string];
      const [data] = await runner.read([{ buffer, bytes: rows }]);
      layers[Number(layer)] = { ...layers[Number(layer)], [stream]: floats(data!) };
    }
    for (const [layer, streams] of layers.entries()) onLayer?.(layer, streams);

    const part = async (key: string, program: (programs: Programs) => void, name: string, size: number) => {
      const [data] = await runner.run(async () => {
        const bound = await runner.program(`trace ${images} ${key}`, key, describe(program), false);
        return { label: key, programs: [bound.program], reads: [{ buffer: arena.buffer(name), bytes: size }] };
      });
      return data!;
    };
    const norm = async (stream: string) =>
      floats(await part(`norm ${stream}`, (programs) => programs.finalNorm(slot(stream)), "final norm", rows));
    return {
      stylized: asFloats(stylized!),
      reconstruction: asFloats(await part("reconstruction", (programs) => programs.decode(slot("A")), "planes", bytes)),
      encoded_anatomy: await norm("A"),
      encoded_style: await norm("Y"),
      encoded_stylized: await norm("Z"),
    };
  } finally {
    gpu.release(...taps.values());
  }
}
