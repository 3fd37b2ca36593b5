import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect, createServer as listen, type Server as TcpServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fetchByProxy } from "../../src/hub/proxy.js";
import { safetensorsBytes, temporaryFolder } from "./files.js";
import { HubServer } from "./hub-server.js";
import { downloadCheckpoint } from "./published.js";

const WEIGHTS = safetensorsBytes({ a: { dtype: "U8", shape: [4], data_offsets: [0, 4] } }, Uint8Array.of(1, 2, 3, 4));
const NAMES = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

let hub: HubServer;
let proxy: Server;
/** What the proxy was asked for. */
let asked: string[];
/** Where it connects to, whatever it is asked for. */
let target: number;

const portOf = (server: Server | TcpServer) => (server.address() as AddressInfo).port;

beforeEach(async () => {
  for (const name of [...NAMES, ...NAMES.map((one) => one.toLowerCase())]) vi.stubEnv(name, undefined);
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE"]) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", await temporaryFolder());
  hub = await HubServer.start();
  hub.files.set("model.safetensors", { bytes: WEIGHTS, lfs: true });
  target = Number(new URL(hub.url).port);
  asked = [];
  proxy = createServer((incoming, outgoing) => {
    const { pathname, host } = new URL(incoming.url!);
    asked.push(`${incoming.method} ${host}`);
    const { method, headers } = incoming;
    incoming.pipe(
      request({ host: "127.0.0.1", port: target, path: pathname, method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(outgoing);
      }),
    );
  });
  proxy.on("connect", (incoming, client, head) => {
    asked.push(`CONNECT ${incoming.url}`);
    const server = connect(target, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      server.write(head);
      server.pipe(client).pipe(server);
    });
    for (const socket of [client, server]) socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  proxy.closeAllConnections();
  proxy.close();
  await hub[Symbol.asyncDispose]();
});

const address = () => `http://127.0.0.1:${portOf(proxy)}`;
const download = async (endpoint: string) =>
  downloadCheckpoint("tiny/epistr", { cacheDir: await temporaryFolder(), endpoint, retryDelay: 1 });

describe("a proxy", () => {
  it.each(["HTTP_PROXY", "http_proxy"])("that %s names is asked for everything", async (name) => {
    vi.stubEnv(name, address());
    const { files, folder } = await download("http://hub.invalid");
    expect(files).toEqual(["model.safetensors"]);
    expect(asked).toEqual(["GET hub.invalid", "POST hub.invalid", "GET hub.invalid"]);
    expect(hub.downloads()).toHaveLength(1);
    expect(folder).toContain(join("snapshots", "0123"));
  });

  it.each(["HTTPS_PROXY", "https_proxy"])("that %s names is a tunnel to what is asked for by https", async (name) => {
    // What comes through it is TLS for that host: a record of the handshake, with the name in the clear.
    let hello = Buffer.alloc(0);
    const secure = listen((socket) => {
      socket.on("error", () => {});
      socket.once("data", (bytes) => {
        hello = bytes as Buffer<ArrayBuffer>;
        socket.destroy();
      });
    });
    await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
    target = portOf(secure);
    vi.stubEnv(name, address());
    await expect(download("https://hub.invalid")).rejects.toMatchObject({ code: "DOWNLOAD" });
    secure.close();
    expect(new Set(asked)).toEqual(new Set(["CONNECT hub.invalid:443"]));
    expect(hello[0]).toBe(0x16);
    expect(hello.includes("hub.invalid")).toBe(true);
  });

  it.each(["NO_PROXY", "no_proxy"])("is left out for what %s names", async (name) => {
    vi.stubEnv("HTTP_PROXY", address());
    vi.stubEnv(name, "example.com,127.0.0.1");
    await download(hub.url);
    expect(asked).toEqual([]);
  });

  it("that is none is an error that names the variable", async () => {
    for (const wrong of ["127.0.0.1:3128", "ftp://127.0.0.1"]) {
      vi.stubEnv("HTTPS_PROXY", wrong);
      await expect(download(hub.url)).rejects.toMatchObject({
        code: "ARGUMENT",
        message: expect.stringContaining(`HTTPS_PROXY is "${wrong}"`),
      });
    }
  });

  it("that refuses a tunnel is named with its answer", async () => {
    proxy.removeAllListeners("connect");
    proxy.on("connect", (_, client) => client.end("HTTP/1.1 407 no\r\n\r\n"));
    vi.stubEnv("HTTPS_PROXY", address());
    await expect(download("https://hub.invalid")).rejects.toMatchObject({
      message: expect.stringMatching(/Proxy response \(407\)/),
    });
  });

  it("that is not there is named in the error", async () => {
    vi.stubEnv("HTTP_PROXY", "http://127.0.0.1:9");
    await expect(download("http://hub.invalid")).rejects.toMatchObject({
      code: "DOWNLOAD",
      message: expect.stringMatching(/127\.0\.0\.1:9/),
    });
  });

  it("costs nothing where none is named", async () => {
    vi.stubEnv("NO_PROXY", "127.0.0.1");
    expect(await fetchByProxy()).toBe(globalThis.fetch);
  });
});
