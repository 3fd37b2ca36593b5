import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { parseAddress, readToken } from "../../src/serve/address.js";
import { Service } from "../../src/serve/service.js";
import { failure, temporaryFolder } from "../image/helpers.js";
import { ask, bare, errorOf, figures, images, keys, open, RAW, rawPath, restyle, SAFETENSORS, tensors } from "./service.js";

const tile = images(1, 16);
const path = rawPath([1, 16, 16, 3], ["a"], { method: "hed-jitter" });
const raw = { headers: { "content-type": RAW }, body: tile.data };
let service: Service;
beforeAll(async () => {
  service = await open({ maxBytes: 1 << 20, queueBytes: 2 << 20, timeoutMs: 1000 });
});
/** The service still serves. */
const serves = async () => expect((await ask(service.url, path, raw)).status).toBe(200);
/** It holds nothing any more. */
const empty = async (url = service.url) => {
  for (let i = 0; i < 100; i++) {
    if ((await figures(url)).get("stylizing_vit_held_bytes") === 0) return;
    await delay(20);
  }
  throw new Error("the service holds bytes");
};

describe("what is not to be had", () => {
  const st = { "content-type": SAFETENSORS };
  const cases: [what: string, path: string, body: Uint8Array, type: string, status: number, code: string, says: RegExp][] = [
    [
      "a shape of other bytes",
      rawPath([1, 16, 15, 3], ["a"]),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /720 bytes, and the body has 768/,
    ],
    ["no shape", "/v1/augment", tile.data, RAW, 400, "ARGUMENT", /no shape/],
    ["a shape of nothing", rawPath([0, 16, 16, 3], []), tile.data, RAW, 400, "ARGUMENT", /"0,16,16,3" is no shape/],
    ["four channels", rawPath([1, 16, 12, 4], ["a"]), tile.data, RAW, 400, "ARGUMENT", /1 or 3 channels/],
    ["three dimensions", rawPath([16, 16, 3], ["a"]), tile.data, RAW, 400, "ARGUMENT", /shape 16,16,3/],
    ["no keys", "/v1/augment?shape=1,16,16,3", tile.data, RAW, 400, "ARGUMENT", /no keys/],
    ["keys that are no JSON", "/v1/augment?shape=1,16,16,3&keys=a", tile.data, RAW, 400, "ARGUMENT", /no keys/],
    ["a key too many", rawPath([1, 16, 16, 3], ["a", "b"]), tile.data, RAW, 400, "ARGUMENT", /1 images and 2 keys/],
    [
      "a method that there is not",
      rawPath([1, 16, 16, 3], ["a"], { method: "nix" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /nix.*Use|nix/,
    ],
    ["a method that needs a style", rawPath([1, 16, 16, 3], ["a"]), tile.data, RAW, 400, "ARGUMENT", /colorist needs a style/],
    [
      "the model, which was not loaded",
      rawPath([1, 16, 16, 3], ["a"], { method: "stylizing-vit" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /without a model/,
    ],
    [
      "a table that is not there",
      rawPath([1, 16, 16, 3], ["a"], { method: "randstainna" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /no table/,
    ],
    [
      "numbers that it cannot have",
      rawPath([1, 16, 16, 3], ["a"], { params: '{"a":1}' }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /"?a"?/,
    ],
    [
      "params that are no object",
      rawPath([1, 16, 16, 3], ["a"], { params: "[1]" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /no JSON object/,
    ],
    ["p that is no share", rawPath([1, 16, 16, 3], ["a"], { p: "1.5" }), tile.data, RAW, 400, "ARGUMENT", /p is 1.5/],
    [
      "p and portion",
      rawPath([1, 16, 16, 3], ["a"], { p: "1", portion: "1" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /Both p and portion/,
    ],
    ["half an epoch", rawPath([1, 16, 16, 3], ["a"], { epoch: ".5" }), tile.data, RAW, 400, "ARGUMENT", /epoch is 0.5/],
    ["a seed that is none", rawPath([1, 16, 16, 3], ["a"], { seed: "x" }), tile.data, RAW, 400, "ARGUMENT", /seed is "x"/],
    [
      "an option that there is not",
      rawPath([1, 16, 16, 3], ["a"], { model: "../x" }),
      tile.data,
      RAW,
      400,
      "ARGUMENT",
      /The query has model/,
    ],
    ["an option twice", `${path}&seed=1&seed=2`, tile.data, RAW, 400, "ARGUMENT", /seed twice/],
    [
      "a style that there is not",
      rawPath([1, 16, 16, 3], ["a"], { styles: "../../etc/passwd" }),
      tile.data,
      RAW,
      404,
      "NOT_FOUND",
      /There are none yet/,
    ],
    ["a name that is none", "/v1/styles/..%2F..%2Fa?shape=16,16,3", tile.data, RAW, 400, "ARGUMENT", /no name of a style/],
    ["a type that there is not", path, tile.data, "image/png", 415, "ARGUMENT", /application\/safetensors/],
    ["no safetensors", "/v1/augment", tile.data, SAFETENSORS, 400, "ARGUMENT", /not whole safetensors/],
    [
      "safetensors cut short",
      "/v1/augment",
      tensors({ images: tile }, ["a"]).subarray(0, -5),
      SAFETENSORS,
      400,
      "ARGUMENT",
      /tensor images wrongly/,
    ],
    [
      "safetensors without images",
      "/v1/augment",
      tensors({ image: tile }, ["a"]),
      SAFETENSORS,
      400,
      "ARGUMENT",
      /no tensor "images"/,
    ],
    [
      "styles that are too few",
      "/v1/augment",
      tensors({ images: images(2, 8), styles: images(1, 8) }, ["a", "b"]),
      SAFETENSORS,
      400,
      "ARGUMENT",
      /2 images and 1 styles/,
    ],
    [
      "styles in two ways",
      "/v1/augment?styles=a",
      tensors({ images: tile, styles: tile }, ["a"]),
      SAFETENSORS,
      400,
      "ARGUMENT",
      /others sent beside/,
    ],
    ["a path that there is not", "/v1/../../etc/passwd", tile.data, RAW, 404, "NOT_FOUND", /nothing at this path/],
  ];
  it.each(cases)("%s", async (_, where, body, type, status, code, says) => {
    const error = errorOf(await ask(service.url, where, { headers: { "content-type": type }, body }));
    expect(error).toMatchObject({ status, code, message: expect.stringMatching(says) });
  });

  it("leaves the others alone, and no bytes behind", async () => {
    const floats = tensors({ images: tile }, ["a"]);
    const at = floats.indexOf('"U8"');
    floats.write('"I8"', at);
    expect(errorOf(await ask(service.url, "/v1/augment", { headers: st, body: floats })).message).toMatch(/images is I8/);
    await serves();
    await empty();
  });
});

describe("what is too much", () => {
  it("refuses 10 GB before they are read, and more than there is room for", async () => {
    const { socket, closed } = bare(service.url);
    socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ncontent-length: 10000000000\r\n\r\n`);
    const start = performance.now();
    expect(await closed).toMatch(/^HTTP\/1.1 413 [\s\S]*"code":"TOO_LARGE"/);
    expect(performance.now() - start).toBeLessThan(500);
    const chunks = bare(service.url);
    chunks.socket.write(
      `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n`,
    );
    expect(await chunks.closed).toMatch(/^HTTP\/1.1 411 [\s\S]*"code":"LENGTH_REQUIRED"/);

    // Two bodies of a megabyte that do not come hold all that there is, until their time is over.
    const declare = () => {
      const one = bare(service.url);
      one.socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ncontent-length: ${1 << 20}\r\n\r\nabc`);
      return one;
    };
    const slow = [declare(), declare()];
    await delay(50);
    const busy = await ask(service.url, path, raw);
    expect(errorOf(busy)).toMatchObject({ status: 429, code: "BUSY" });
    expect(Number(busy.headers["retry-after"])).toBeGreaterThanOrEqual(1);
    for (const { closed: late } of slow) expect(await late).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"TIMEOUT"/);
    await serves();
    await empty();
  });

  it("ends connections whose headers never end, or are too long, or no HTTP", async () => {
    const slow = bare(service.url);
    slow.socket.write("POST /v1/augment HTTP/1.1\r\nhost: a\r\n");
    const drip = setInterval(() => slow.socket.write("x: y\r\n"), 100);
    const long = bare(service.url);
    long.socket.write(`GET /health HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(1 << 17)}\r\n\r\n`);
    const other = bare(service.url);
    other.socket.write("EHLO example\r\n\r\n");
    expect(await long.closed).toMatch(/^HTTP\/1.1 431 [\s\S]*"code":"TOO_LARGE"/);
    expect(await other.closed).toMatch(/^HTTP\/1.1 400 [\s\S]*"code":"ARGUMENT"/);
    await serves();
    expect(await slow.closed).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"TIMEOUT"/);
    clearInterval(drip);
  });

  it("drops clients that hang up, and those that never read", async () => {
    const own = await open({ timeoutMs: 600 });
    const half = bare(own.url);
    half.socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ncontent-length: 768\r\n\r\nabc`);
    await delay(30);
    half.socket.destroy();
    // Sends requests one behind another, and reads none of the answers.
    const deaf = bare(own.url);
    deaf.socket.pause();
    const large = images(1, 512);
    const place = rawPath(large.shape, ["a"], { p: "0" });
    const head = `POST ${place} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ncontent-length: ${large.data.length}\r\n\r\n`;
    for (let i = 0; i < 24; i++) {
      deaf.socket.write(head);
      deaf.socket.write(large.data);
    }
    for (let i = 0; i < 5; i++) expect((await ask(own.url, path, raw)).status).toBe(200);
    // The connection ends before all that was sent has been answered.
    const route = (code: number) => `stylizing_vit_requests_total{route="/v1/augment",code="${code}"}`;
    await empty(own.url);
    const found = await figures(own.url);
    expect(found.get(route(499))).toBeGreaterThanOrEqual(2);
    expect(found.get(route(200))).toBeLessThan(24);
    deaf.socket.resume();
    expect((await deaf.closed).length).toBeLessThan(24 * large.data.length);
    expect((await ask(own.url, path, raw)).status).toBe(200);
  });
});

describe("tokens and addresses", () => {
  it("asks for a token of everything but health", async () => {
    const token = "0123456789abcdef-secret";
    const closed = await open({ token });
    for (const [authorization, says] of [
      [undefined, /no token/],
      ["Bearer 0123456789abcdef-secreT", /wrong/],
      [`Bearer ${token}x`, /wrong/],
      [token, /wrong/],
      ["", /wrong/],
    ] as const) {
      const headers = { "content-type": RAW, ...(authorization === undefined ? {} : { authorization }) };
      const answer = await ask(closed.url, path, { ...raw, headers });
      expect(errorOf(answer)).toMatchObject({ status: 401, code: "UNAUTHORIZED", message: expect.stringMatching(says) });
      expect((await ask(closed.url, "/metrics", { method: "GET", headers })).status).toBe(401);
    }
    expect((await ask(closed.url, "/health", { method: "GET" })).status).toBe(200);
    const headers = { "content-type": RAW, authorization: `Bearer ${token}` };
    expect((await ask(closed.url, path, { ...raw, headers })).status).toBe(200);
  });

  it("reads a token's file", async () => {
    const file = join(temporaryFolder(), "token");
    expect((await failure(readToken(file), "ARGUMENT")).message).toContain("cannot be read");
    for (const text of ["", "\n", "short", "has some spaces in it", "0123456789abcdeé"]) {
      writeFileSync(file, text);
      await failure(readToken(file), "ARGUMENT");
    }
    writeFileSync(file, "0123456789abcdef\n");
    expect(await readToken(file)).toBe("0123456789abcdef");
  });

  it("listens to this machine alone unless there is a token", async () => {
    expect(new URL(service.url).hostname).toBe("127.0.0.1");
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "example.org"])
      expect((await failure(Service.open({ method: "colorist", address: { host, port: 0 } }), "ARGUMENT")).message).toContain(
        "no token",
      );
    expect(parseAddress("127.0.0.1:80")).toEqual({ host: "127.0.0.1", port: 80 });
    expect(parseAddress("[::1]:0")).toEqual({ host: "::1", port: 0 });
    for (const text of ["", "80", ":80", "a:", "a:70000", "::1:80", "[a]:80"])
      expect(() => parseAddress(text)).toThrow(/is no address/);
  });

  it("refuses an address in use", async () => {
    const { port } = new URL(service.url);
    const error = await failure(open({ address: { host: "127.0.0.1", port: Number(port) } }), "ARGUMENT");
    expect(error.message).toContain(`127.0.0.1:${port} is in use`);
    await serves();
  });

  it("listens on a socket, takes the place of one that was killed, and of nothing else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "s-"));
    try {
      const socket = join(folder, "s");
      writeFileSync(socket, "a file");
      expect((await failure(open({ address: { path: socket } }), "ARGUMENT")).message).toContain("no socket");
      rmSync(socket);
      const killed = `require("net").createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"))`;
      expect(spawnSync(process.execPath, ["-e", killed]).signal).toBe("SIGKILL");
      expect(existsSync(socket)).toBe(true);
      const one = await open({ address: { path: socket } });
      expect((await ask(one.url, path, raw)).status).toBe(200);
      expect(statSync(socket).mode & 0o777).toBe(0o600);
      expect((await failure(open({ address: { path: socket } }), "ARGUMENT")).message).toContain("in use");
      await one.stop();
      expect(existsSync(socket)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

it("stops when it has finished what it took, and refuses what comes", async () => {
  const own = await open({ batch: 2, deadlineMs: 1 });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await ask(own.url, "/health", { method: "GET", agent });
  const taken = restyle(own.url, { images: images(24, 32) }, keys(24), { method: "hed-jitter" });
  await delay(40);
  const stopped = own.stop();
  const late = await ask(own.url, path, { ...raw, agent });
  expect(errorOf(late)).toMatchObject({ status: 503, code: "STOPPING" });
  const health = await ask(own.url, "/health", { method: "GET" });
  expect([health.status, JSON.parse(health.body.toString())]).toMatchObject([503, { status: "stopping" }]);
  expect((await taken).images.shape).toEqual([24, 32, 32, 3]);
  await stopped;
  await expect(ask(own.url, "/health", { method: "GET" })).rejects.toThrow(/ECONNREFUSED|hang up/);
});
