import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { safetensorsBody, safetensorsOf } from "../../src/serve/body.js";
import { Service, type ServiceOptions } from "../../src/serve/service.js";
import { root } from "../support/fixtures.js";

export const RAW = "application/octet-stream";
export const SAFETENSORS = "application/safetensors";

/** Images of one size in one array. */
export interface Images {
  shape: readonly number[];
  data: Uint8Array;
}

/** Seeded colours, fast to make. */
export function images(count: number, size: number, seed = 1, channels = 3): Images {
  const data = new Uint8Array(count * size * size * channels);
  for (let i = 0, x = (seed * 2654435761) >>> 0 || 1; i < data.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    data[i] = 60 + 40 * (Math.floor(i / (size * size * channels)) % 3) + (x >>> 26);
  }
  return { shape: [count, size, size, channels], data };
}

/** Its images one by one. */
export const each = ({ shape: [count = 0, height = 0, width = 0, channels = 0], data }: Images) =>
  Array.from({ length: count }, (_, index) => ({
    ...{ width, height, channels: channels as 1 | 3 },
    data: data.slice((index * data.length) / count, ((index + 1) * data.length) / count),
  }));

export const keys = (count: number, name = "tile") => Array.from({ length: count }, (_, index) => `${name} ${index}`);

const opened: Service[] = [];
afterAll(async () => {
  for (const service of opened) await service.stop();
});

/** A service in this process on the software adapter, stopped when the file's tests are done. */
export async function open(options: ServiceOptions = {}): Promise<Service> {
  const service = await Service.open({ method: "colorist", seed: 5, load: { adapter: "software" }, workers: 0, ...options });
  opened.push(service);
  return service;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export interface Ask {
  method?: string;
  headers?: Record<string, string | number>;
  body?: Uint8Array;
  agent?: import("node:http").Agent;
  signal?: AbortSignal;
}

/** One request; of a socket's path the service's own. */
export function ask(
  url: string,
  path: string,
  { method = "POST", headers = {}, body, agent, signal }: Ask = {},
): Promise<Answer> {
  const where = url.startsWith("http") ? new URL(path, url) : { socketPath: url, path };
  return new Promise((resolve, reject) => {
    const options = { method, headers: { ...(body ? { "content-length": body.length } : {}), ...headers }, agent, signal };
    const sent = where instanceof URL ? httpRequest(where, options) : httpRequest({ ...where, ...options });
    sent.on("error", reject).on("response", (response) => {
      const pieces: Buffer[] = [];
      response.on("error", reject).on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(pieces) }));
    });
    sent.end(body);
  });
}

/** The error of an answer, with what every one has. */
export function errorOf({ status, body }: Answer): { status: number; code: string; message: string } {
  const { error } = JSON.parse(body.toString()) as { error: { code: string; message: string; fix: string } };
  expect(error.fix.length).toBeGreaterThan(10);
  expect(error.message).toContain(error.fix);
  return { status, code: error.code, message: error.message };
}

/** The path of a request of raw images. */
export const rawPath = (shape: readonly number[], names: readonly string[], more: Record<string, string> = {}) =>
  `/v1/augment?${new URLSearchParams({ shape: shape.join(","), keys: JSON.stringify(names), ...more })}`;

/** Safetensors as a client sends them. */
export function tensors(given: Record<string, Images>, names?: readonly string[]): Buffer {
  const [[first, one], ...others] = Object.entries(given) as [[string, Images], ...[string, Images][]];
  const metadata = names ? { keys: JSON.stringify(names) } : {};
  if (others.length === 0) return safetensorsOf(first, one.shape, [one.data], metadata);
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: metadata };
  for (const [name, { shape, data }] of Object.entries(given)) {
    header[name] = { dtype: "U8", shape, data_offsets: [end, end + data.length] };
    end += data.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...Object.values(given).map(({ data }) => data)]);
}

/** Restyles by safetensors, and what was done. */
export async function restyle(
  url: string,
  given: Record<string, Images>,
  names: readonly string[],
  query: Record<string, string> = {},
  more: Ask = {},
): Promise<{ images: Images; ops: unknown[] }> {
  const headers = { "content-type": SAFETENSORS, ...more.headers };
  const answer = await ask(url, `/v1/augment?${new URLSearchParams(query)}`, { ...more, headers, body: tensors(given, names) });
  expect(answer.status, answer.body.subarray(0, 300).toString()).toBe(200);
  const body = safetensorsBody(answer.body);
  const found = body.tensors.get("images")!;
  return { images: { ...found, data: Uint8Array.from(found.data) }, ops: JSON.parse(body.metadata.get("ops")!) as unknown[] };
}

/** Figures by name, of `/metrics`. */
export async function figures(url: string, headers: Record<string, string> = {}): Promise<Map<string, number>> {
  const { body } = await ask(url, "/metrics", { method: "GET", headers });
  const lines = body
    .toString()
    .split("\n")
    .filter((line) => line && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

/** A bare connection, for what no client would do. `all` is what came until it ended, or for so long. */
export function bare(url: string): { socket: Socket; closed: Promise<string> } {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const closed = new Promise<string>((resolve) => {
    let text = "";
    socket.on("data", (piece: Buffer) => {
      text += piece.toString("latin1");
    });
    socket.on("error", () => {}).on("close", () => resolve(text));
  });
  return { socket, closed };
}

/** Megabytes that this process holds. */
export const resident = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024;

export const CLIENT = join(root, "clients", "python");
