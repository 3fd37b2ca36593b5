import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { lstat, mkdir, readdir, readFile, readlink, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Checkpoint } from "../../src/hub/checkpoint.js";
import type { DownloadOptions, DownloadProgress } from "../../src/hub/download.js";
import { safetensorsBytes, temporaryFolder } from "./files.js";
import { COMMIT, HubServer, type Interference, REPO } from "./hub-server.js";
import { downloadCheckpoint } from "./published.js";

const NAME = "tiny/epistr";
const COUNT = 100_000;
const DATA = new Uint8Array(Float32Array.from({ length: COUNT }, (_, i) => i).buffer);
const WEIGHTS = safetensorsBytes({ a: { dtype: "F32", shape: [COUNT], data_offsets: [0, DATA.length] } }, DATA);
const DIGEST = createHash("sha256").update(WEIGHTS).digest("hex");
const CONFIG = new TextEncoder().encode('{"depth": 12}\n');

let hub: HubServer;
let cache: string;
let root: string;

beforeEach(async () => {
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE"]) vi.stubEnv(name, undefined);
  cache = await temporaryFolder();
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY"]) for (const one of [name, name.toLowerCase()]) vi.stubEnv(one, undefined);
  // No token of the user's own.
  vi.stubEnv("HF_HOME", await temporaryFolder());
  root = join(cache, "models--sdoerrich97--stylizing_vit_tiny_epistr");
  hub = await HubServer.start();
  hub.files.set("model.safetensors", { bytes: WEIGHTS, lfs: true });
  hub.files.set("config.json", { bytes: CONFIG, lfs: false });
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub[Symbol.asyncDispose]();
});

function download(options: DownloadOptions = {}) {
  return downloadCheckpoint(NAME, { cacheDir: cache, endpoint: hub.url, retryDelay: 1, ...options });
}

const refused = (message: RegExp) => ({
  code: "DOWNLOAD",
  fix: expect.stringMatching(/\w/),
  message: expect.stringMatching(message),
});

/** Sends only part of the weights and then drops the connection, for the first `times` requests. */
function drop(times: number, send: number): Interference {
  return async (request, response, bytes) => {
    if (!request.path.endsWith("model.safetensors") || bytes === undefined || times-- <= 0) return false;
    const total = WEIGHTS.length;
    const headers = { "content-length": bytes.length, "content-range": `bytes ${total - bytes.length}-${total - 1}/${total}` };
    response.writeHead(request.range === undefined ? 200 : 206, headers);
    response.write(bytes.subarray(0, send));
    await new Promise((resolve) => setTimeout(resolve, 50)); // else the socket may close before the bytes are out
    response.destroy();
    return true;
  };
}

/** Answers everything alike. */
const answer =
  (status: number, body = ""): Interference =>
  (_, response) => {
    response.writeHead(status).end(body);
    return true;
  };

/** Compares without listing 400 000 differences. */
async function expectWeights(path: string): Promise<void> {
  expect((await readFile(path)).equals(WEIGHTS)).toBe(true);
}

const partials = async () => (await readdir(join(root, "blobs"))).filter((name) => name.endsWith(".partial"));

describe("a first download", () => {
  it("brings another file of weights where one is named, and finds it again", async () => {
    hub.files.set("others.safetensors", { bytes: WEIGHTS, lfs: true });
    const first = await download({ weights: "others.safetensors" });
    expect(first.files).toEqual(["config.json", "others.safetensors"]);
    expect(hub.downloads()).toEqual([]);
    await expectWeights(join(first.folder, "others.safetensors"));
    const asked = hub.requests.length;
    expect(await download({ weights: "others.safetensors" })).toEqual(first);
    expect(hub.requests).toHaveLength(asked);
    await expect(download({ weights: "none.safetensors" })).rejects.toMatchObject(refused(/neither none\.safetensors nor/));
  });

  it("lays the files out as Python does, checks them and reports progress", async () => {
    const events: DownloadProgress[] = [];
    const result = await download({ onProgress: (event) => events.push(event) });
    const folder = join(root, "snapshots", COMMIT);
    expect(result).toEqual({ folder, revision: COMMIT, files: ["config.json", "model.safetensors"] });
    expect(await readFile(join(root, "refs", "main"), "utf8")).toBe(COMMIT);
    const git = createHash("sha1").update(`blob ${CONFIG.length}\0`).update(CONFIG).digest("hex");
    expect((await readdir(join(root, "blobs"))).sort()).toEqual([DIGEST, git].sort());
    expect((await readdir(folder)).sort()).toEqual(["config.json", "model.safetensors"]);
    if (process.platform !== "win32") {
      expect(await readlink(join(folder, "model.safetensors"))).toBe(join("..", "..", "blobs", DIGEST));
    }
    await using checkpoint = await Checkpoint.open(folder);
    expect((await checkpoint.read("a")).at(-1)).toBe(COUNT - 1);
    expect(checkpoint.config).toEqual({ depth: 12 });

    const weights = events.filter((e) => e.file === "model.safetensors");
    expect(weights.every((e) => e.total === WEIGHTS.length)).toBe(true);
    const loaded = weights.filter((e) => e.phase === "download").map((e) => e.loaded);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
    expect(loaded.at(-1)).toBe(WEIGHTS.length);
    expect(events.at(-1)).toEqual({ phase: "verify", file: "model.safetensors", loaded: WEIGHTS.length, total: WEIGHTS.length });
    expect(hub.requests.map((r) => r.method)).toEqual(["GET", "POST", "GET", "GET"]);
  });

  it("needs no config.json, and fetches shards through their index", async () => {
    hub.files.clear();
    const tensor = (value: number) =>
      safetensorsBytes({ [`t${value}`]: { dtype: "U8", shape: [1], data_offsets: [0, 1] } }, Uint8Array.of(value));
    const index = { weight_map: { t1: "one.safetensors", t2: "two.safetensors" } };
    hub.files.set("model.safetensors.index.json", { bytes: new TextEncoder().encode(JSON.stringify(index)), lfs: false });
    hub.files.set("one.safetensors", { bytes: tensor(1), lfs: true });
    await expect(download()).rejects.toMatchObject(refused(/two\.safetensors/));
    hub.files.set("two.safetensors", { bytes: tensor(2), lfs: true });
    const { folder, files } = await download();
    expect(files).toEqual(["model.safetensors.index.json", "one.safetensors", "two.safetensors"]);
    await using checkpoint = await Checkpoint.open(folder);
    expect([...checkpoint.shapes.keys()]).toEqual(["t1", "t2"]);
    const { length } = hub.requests;
    await download();
    expect(hub.requests).toHaveLength(length);
    await rm(join(folder, "two.safetensors"));
    await download();
    expect(hub.requests.length).toBeGreaterThan(length);
    expect(hub.downloads("two.safetensors")).toHaveLength(1); // its blob was still there
  });

  it("sends the token to the endpoint and to nobody else", async () => {
    await using elsewhere = await HubServer.start();
    elsewhere.files.set("model.safetensors", { bytes: WEIGHTS, lfs: true });
    vi.stubEnv("HF_TOKEN", "secret");
    hub.interfere = (request, response) => {
      if (!request.path.endsWith("model.safetensors")) return false;
      response.writeHead(302, { location: `${elsewhere.url}${request.path}` }).end();
      return true;
    };
    await download();
    expect(hub.requests.every((r) => r.authorization === "Bearer secret")).toBe(true);
    expect(elsewhere.requests).toMatchObject([{ authorization: undefined, bytes: WEIGHTS.length }]);
  });

  it("takes the token from HF_TOKEN, else from a file of Hugging Face's tools", async () => {
    const [home, path] = [process.env.HF_HOME!, join(cache, "own token")];
    const sent = async () => {
      hub.requests.length = 0;
      await download({ refresh: true });
      return new Set(hub.requests.map((r) => r.authorization));
    };
    expect(await sent()).toEqual(new Set([undefined]));
    await writeFile(join(home, "token"), "of the home\n");
    expect(await sent()).toEqual(new Set(["Bearer of the home"]));
    vi.stubEnv("HF_TOKEN_PATH", path);
    expect(await sent()).toEqual(new Set([undefined]));
    await writeFile(path, " of the path ");
    expect(await sent()).toEqual(new Set(["Bearer of the path"]));
    vi.stubEnv("HF_TOKEN", "of the environment");
    expect(await sent()).toEqual(new Set(["Bearer of the environment"]));
  });

  it("takes endpoint and cache from the environment, and a fetch from the caller", async () => {
    vi.stubEnv("HF_ENDPOINT", `${hub.url}/`);
    vi.stubEnv("HF_HUB_CACHE", join(cache, "elsewhere"));
    const seen: string[] = [];
    const { folder } = await downloadCheckpoint(REPO, {
      fetch: (url, init) => {
        seen.push(String(url));
        return fetch(url, init);
      },
    });
    expect(folder.startsWith(join(cache, "elsewhere", "models--"))).toBe(true);
    expect(seen).toHaveLength(4);
    expect(seen.every((url) => url.startsWith(`${hub.url}/`) && !url.startsWith(`${hub.url}//`))).toBe(true);
  });
});

describe("the cache", () => {
  it("answers the second time without a request, on-line and off", async () => {
    const first = await download();
    hub.requests.length = 0;
    expect(await download()).toEqual(first);
    expect(await download({ offline: true, refresh: true })).toEqual(first);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await download()).toEqual(first);
    expect(await downloadCheckpoint(`${NAME}@${COMMIT}`, { cacheDir: cache })).toEqual(first);
    expect(hub.requests).toEqual([]);
  });

  it("says how to fill it when off-line", async () => {
    await expect(download({ offline: true })).rejects.toMatchObject(refused(/tiny\/epistr .*main.* not in the cache/));
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(download()).rejects.toMatchObject(refused(/HF_HUB_OFFLINE/));
    expect(hub.requests).toEqual([]);
  });

  it("pins a branch to its first commit until told to look again", async () => {
    await download();
    const next = "f".repeat(40);
    hub.branches.set("main", next);
    hub.requests.length = 0;
    expect((await download()).revision).toBe(COMMIT);
    expect(hub.requests).toEqual([]);
    const refreshed = await download({ refresh: true });
    expect(refreshed.revision).toBe(next);
    expect(hub.downloads()).toEqual([]); // the same blob
    expect((await download()).revision).toBe(next);
    expect((await download({ revision: COMMIT })).revision).toBe(COMMIT);
  });

  it("keeps the old commit when the new one cannot be fetched", async () => {
    await download();
    hub.branches.set("main", "f".repeat(40));
    hub.interfere = (request, response) => {
      if (!request.path.includes("/paths-info/")) return false;
      response.writeHead(403).end();
      return true;
    };
    await expect(download({ refresh: true })).rejects.toMatchObject(refused(/403/));
    expect((await download()).revision).toBe(COMMIT);
  });

  it("takes branches with a slash and commits that were never a branch", async () => {
    hub.branches.set("refs/pr/1", COMMIT);
    await download({ revision: "refs/pr/1" });
    expect(await readFile(join(root, "refs", "refs", "pr", "1"), "utf8")).toBe(COMMIT);
    const commit = "a".repeat(40);
    await download({ revision: commit });
    expect(hub.requests.filter((r) => r.path.includes("/revision/"))).toHaveLength(1);
    expect(await readdir(join(root, "refs"))).toEqual(["refs"]);
  });

  it("completes a snapshot that Python left without weights", async () => {
    await mkdir(join(root, "refs"), { recursive: true });
    await writeFile(join(root, "refs", "main"), COMMIT);
    await mkdir(join(root, "snapshots", COMMIT), { recursive: true });
    await writeFile(join(root, "snapshots", COMMIT, "config.json"), "{}");
    hub.branches.clear();
    expect((await download()).files).toEqual(["config.json", "model.safetensors"]);
  });

  it("mends a link whose blob is gone, and a blob of the wrong size", async () => {
    const { folder } = await download();
    const blob = join(root, "blobs", DIGEST);
    await writeFile(blob, "short");
    await rm(join(folder, "model.safetensors"));
    await download();
    expect((await readFile(join(folder, "model.safetensors"))).length).toBe(WEIGHTS.length);
    await rm(blob);
    await download();
    expect((await lstat(blob)).size).toBe(WEIGHTS.length);
  });

  describe("a file that lost something since", () => {
    let folder: string;
    beforeEach(async () => {
      ({ folder } = await download());
      hub.requests.length = 0;
    });
    const weights = () => join(folder, "model.safetensors");

    it("is completed, if it was cut off", async () => {
      await truncate(weights(), 150_000);
      expect((await download()).files).toEqual(["config.json", "model.safetensors"]);
      expect(hub.downloads()).toMatchObject([{ range: "bytes=150000-" }]);
      await expectWeights(weights());
      hub.requests.length = 0;
      await download();
      expect(hub.requests).toEqual([]);
    });

    it("is fetched again, if it has other bytes than it had", async () => {
      for (const [name, text] of [
        ["config.json", '{"depth": 13}\n'],
        ["config.json", '{"dep'],
        ["model.safetensors", "<html>"],
      ] as const) {
        await writeFile(join(folder, name), text);
        await download();
        expect(await readFile(join(folder, "config.json"))).toEqual(Buffer.from(CONFIG));
        await expectWeights(weights());
      }
      // Where what there is may be a beginning, it is gone on with first.
      expect(hub.downloads("config.json").map((r) => r.range)).toEqual([undefined, "bytes=5-"]);
      expect(hub.downloads().map((r) => r.range)).toEqual(["bytes=6-", undefined]);
    });

    it("and a copy instead of a link, from its blob", async () => {
      await rm(weights());
      await writeFile(weights(), WEIGHTS.subarray(0, 100));
      await download();
      await expectWeights(weights());
      expect(hub.downloads()).toEqual([]);
    });

    it("is named, with the cure, where it cannot be fetched", async () => {
      await truncate(weights(), 150_000);
      const named = /is damaged in the cache \(.*model\.safetensors .*150000|has only \d+\)/;
      await expect(download({ offline: true })).rejects.toMatchObject(refused(named));
      await expect(download({ offline: true })).rejects.toMatchObject(refused(/Run once without HF_HUB_OFFLINE/));
      hub.interfere = answer(404);
      await expect(download()).rejects.toMatchObject(refused(/404.*model\.safetensors describes tensor a wrongly/));
    });
  });

  it.each(["../main", "a/../b", "/main", "a//b", "", ".", "a b", "a\\b"])("refuses the revision %j", async (revision) => {
    await expect(download({ revision })).rejects.toMatchObject({ code: "ARGUMENT" });
    expect(await readdir(cache)).toEqual([]);
  });

  it("says when it cannot be written", async () => {
    const file = join(cache, "file");
    await writeFile(file, "");
    await expect(download({ cacheDir: file })).rejects.toMatchObject(refused(/could not be stored.*HF_HUB_CACHE/));
  });
});

describe("a connection that breaks", () => {
  it("is continued where it broke", async () => {
    hub.interfere = drop(2, 100_000);
    const events: DownloadProgress[] = [];
    const { folder } = await download({ onProgress: (event) => events.push(event) });
    const requests = hub.downloads();
    expect(requests.map((r) => r.range)).toEqual([undefined, "bytes=100000-", "bytes=200000-"]);
    expect(requests.reduce((sum, r) => sum + r.bytes, 0)).toBe(WEIGHTS.length);
    await expectWeights(join(folder, "model.safetensors"));
    const loaded = events.filter((e) => e.phase === "download" && e.file === "model.safetensors").map((e) => e.loaded);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
  });

  it("is continued by a later call, which checks what was kept", async () => {
    hub.interfere = (request, response, bytes) =>
      drop(request.range === undefined ? 1 : 100, request.range === undefined ? 150_000 : 0)(request, response, bytes);
    await expect(download()).rejects.toMatchObject(refused(/what has arrived is kept/));
    expect(await partials()).toEqual([`${DIGEST}.partial`]);
    hub.requests.length = 0;
    hub.interfere = () => false;
    const events: DownloadProgress[] = [];
    await download({ onProgress: (event) => events.push(event) });
    expect(hub.downloads()).toMatchObject([{ range: "bytes=150000-", bytes: WEIGHTS.length - 150_000 }]);
    expect(events.filter((e) => e.file === "model.safetensors" && e.phase === "verify").map((e) => e.loaded)).toEqual([
      150_000,
      WEIGHTS.length,
    ]);
    expect(await partials()).toEqual([]);
  });

  it.each<[string, Interference]>([
    [
      "200 with everything",
      (request, response) => {
        if (request.range === undefined) return false;
        response.writeHead(200, { "content-length": WEIGHTS.length });
        response.write(WEIGHTS);
        response.end();
        return true;
      },
    ],
    ["416", (request, response, bytes) => request.range !== undefined && answer(416)(request, response, bytes)],
    [
      "another range",
      (request, response) => {
        if (request.range === undefined) return false;
        response.writeHead(206, { "content-range": `bytes 0-9/${WEIGHTS.length}` });
        response.write(WEIGHTS.subarray(0, 10));
        response.end();
        return true;
      },
    ],
  ])("starts over when a server answers a range with %s", async (_, interference) => {
    const first = drop(1, 100_000);
    const events: number[] = [];
    hub.interfere = async (...args) => (await first(...args)) || interference(...args);
    const { folder } = await download({
      onProgress: (e) => e.phase === "download" && e.file !== "config.json" && events.push(e.loaded),
    });
    await expectWeights(join(folder, "model.safetensors"));
    expect(events).toEqual([...events].sort((a, b) => a - b));
  });

  it("ends when a server never gets further, although each attempt brings bytes", async () => {
    hub.interfere = async (request, response, bytes) => {
      if (bytes === undefined || !request.path.endsWith("model.safetensors")) return false;
      response.writeHead(200, { "content-length": WEIGHTS.length });
      response.write(WEIGHTS.subarray(0, 1000));
      await new Promise((resolve) => setTimeout(resolve, 20));
      response.destroy();
      return true;
    };
    await expect(download()).rejects.toMatchObject({ code: "DOWNLOAD" });
    expect(hub.downloads().length).toBeLessThan(15);
  });

  it("notices a body that ends early without an error", async () => {
    let times = 1;
    hub.interfere = (request, response) => {
      if (!request.path.endsWith("model.safetensors") || times-- <= 0) return false;
      response.writeHead(200); // chunked: the length is not announced
      response.write(WEIGHTS.subarray(0, 5000));
      response.end();
      return true;
    };
    await download();
    expect(hub.downloads().map((r) => r.range)).toEqual([undefined, "bytes=5000-"]);
  });

  it("is tried again after 500 and 429, in the protocol and in the transfer, but not forever", async () => {
    const failures = new Map<string, number>();
    hub.interfere = (request, response) => {
      const count = failures.get(request.path) ?? 0;
      failures.set(request.path, count + 1);
      if (count >= 2) return false;
      response.writeHead(count === 0 ? 500 : 429).end();
      return true;
    };
    await download();
    expect(hub.requests).toHaveLength(12);
    hub.requests.length = 0;
    hub.interfere = answer(503);
    await expect(download({ revision: "b".repeat(40) })).rejects.toMatchObject(refused(/503/));
    expect(hub.requests).toHaveLength(6);
  });

  it("is named with its reason when nothing listens", async () => {
    const { url } = hub;
    await hub[Symbol.asyncDispose]();
    hub = await HubServer.start(); // on another port
    await expect(download({ endpoint: url })).rejects.toMatchObject(refused(/ECONNREFUSED/));
  });
});

describe("a server that refuses or lies", () => {
  it.each([
    [401, undefined, /401.*set HF_TOKEN/],
    [403, "secret", /403.*Check HF_TOKEN/],
    [404, undefined, /stylizing_vit_tiny_epistr \(revision main\).*404/],
    [400, undefined, /400/],
  ] as const)("status %i with token %s", async (status, token, message) => {
    if (token) vi.stubEnv("HF_TOKEN", token);
    hub.interfere = answer(status, "no");
    await expect(download()).rejects.toMatchObject(refused(message));
    expect(hub.requests).toHaveLength(1);
  });

  it("an unknown branch, and a repository without weights", async () => {
    await expect(download({ revision: "none" })).rejects.toMatchObject(refused(/revision none.*404/));
    hub.files.delete("model.safetensors");
    await expect(download()).rejects.toMatchObject(refused(/neither model\.safetensors nor/));
  });

  it.each([true, false])("another digest (large file: %s)", async (lfs) => {
    const name = lfs ? "model.safetensors" : "config.json";
    hub.files.set(name, { bytes: lfs ? WEIGHTS : CONFIG, lfs, oid: "0".repeat(lfs ? 64 : 40) });
    await expect(download()).rejects.toMatchObject(refused(/digest/));
    expect(hub.downloads(name)).toHaveLength(1);
    expect((await readdir(join(root, "blobs"))).filter((file) => file.startsWith("0000"))).toEqual([]);
    await expect(download({ offline: true })).rejects.toMatchObject({ code: "DOWNLOAD" });
  });

  it("more bytes than announced", async () => {
    hub.interfere = (request, response) => {
      if (!request.path.endsWith("model.safetensors")) return false;
      response.writeHead(200);
      response.write(WEIGHTS);
      response.write(WEIGHTS);
      response.end();
      return true;
    };
    await expect(download()).rejects.toMatchObject(refused(/longer/));
    expect(await partials()).toEqual([]);
  });

  it.each([
    ["oid", "../../../evil"],
    ["oid", undefined],
    ["size", -1],
    ["size", "9"],
  ])("a file whose %s is %s", async (field, value) => {
    hub.interfere = (request, response) => {
      if (!request.path.includes("/paths-info/")) return false;
      const info = { type: "file", path: "model.safetensors", size: 4, oid: "0".repeat(40), [field]: value };
      response.writeHead(200).end(JSON.stringify([info]));
      return true;
    };
    await expect(download()).rejects.toMatchObject(refused(/digest or size/));
  });

  it("a branch that is no commit, an index that points elsewhere, an answer that is not JSON", async () => {
    hub.branches.set("main", "../../evil");
    await expect(download()).rejects.toMatchObject(refused(/no commit/));
    hub.branches.set("main", COMMIT);
    hub.files.delete("model.safetensors");
    const index = { weight_map: { a: "../../evil.safetensors" } };
    hub.files.set("model.safetensors.index.json", { bytes: new TextEncoder().encode(JSON.stringify(index)), lfs: false });
    await expect(download()).rejects.toMatchObject({ code: "CHECKPOINT", message: expect.stringContaining("evil") });
    hub.interfere = answer(200, "<html>");
    await expect(download({ revision: "other" })).rejects.toMatchObject(refused(/JSON/));
  });

  it("an endpoint that is not a web address", async () => {
    for (const endpoint of ["huggingface.co", "file:///etc"]) {
      await expect(download({ endpoint })).rejects.toMatchObject({ code: "ARGUMENT" });
    }
  });
});

describe("stopping", () => {
  it("rejects with the signal's reason and keeps what has arrived", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    hub.interfere = (request, response, bytes) => {
      if (!request.path.endsWith("model.safetensors") || bytes === undefined || request.range !== undefined) return false;
      response.writeHead(200, { "content-length": WEIGHTS.length });
      response.write(bytes.subarray(0, 120_000)); // and then nothing
      return true;
    };
    const onProgress = (event: DownloadProgress) => {
      if (event.loaded >= 120_000) controller.abort(reason);
    };
    await expect(download({ signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(await partials()).toEqual([`${DIGEST}.partial`]);
    await expect(download({ signal: controller.signal })).rejects.toBe(reason);
    await download();
    expect(hub.downloads().at(-1)!.range).toBe("bytes=120000-");
  });

  it("ends a pause between attempts", async () => {
    hub.interfere = answer(500);
    const signal = AbortSignal.timeout(50);
    const start = performance.now();
    await expect(download({ signal, retryDelay: 60_000 })).rejects.toMatchObject({ name: "TimeoutError" });
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it("passes on what the caller's progress function throws", async () => {
    const mistake = new TypeError("mine");
    const onProgress = () => {
      throw mistake;
    };
    await expect(download({ onProgress })).rejects.toBe(mistake);
    expect(hub.downloads("config.json")).toHaveLength(1);
  });
});

describe("several at once", () => {
  it("do not disturb each other", async () => {
    const results = await Promise.all([download(), download(), download()]);
    expect(new Set(results.map((r) => r.folder)).size).toBe(1);
    await expectWeights(join(results[0]!.folder, "model.safetensors"));
    expect(await partials()).toEqual([]);
    expect(await readdir(results[0]!.folder)).toHaveLength(2);
  });

  it("drop what another left while they were busy", async () => {
    await download({ onProgress: () => writeFileSync(join(root, "blobs", `${DIGEST}.partial`), "left") });
    expect(await partials()).toEqual([]);
  });

  it("leave alone what a living process writes, and take over what a dead one left", async () => {
    const blobs = join(root, "blobs");
    await mkdir(blobs, { recursive: true });
    const host = hostname().replace(/[^\w-]/g, "_");
    const dead = execFileSync(process.execPath, ["-p", "process.pid"], { encoding: "utf8" }).trim();
    const living = `${DIGEST}.${host}-${process.ppid}-00000000.partial`;
    const remote = `${DIGEST}.${host}x-${dead}-00000000.partial`;
    await writeFile(join(blobs, living), WEIGHTS.subarray(0, 90_000));
    await writeFile(join(blobs, remote), WEIGHTS.subarray(0, 80_000));
    await writeFile(join(blobs, `${DIGEST}.${host}-${dead}-00000000.partial`), WEIGHTS.subarray(0, 70_000));
    await writeFile(join(blobs, `${DIGEST}.partial`), WEIGHTS.subarray(0, 60_000));
    await download();
    expect(hub.downloads()).toMatchObject([{ range: "bytes=70000-" }]);
    expect((await partials()).sort()).toEqual([living, remote].sort());
    const long = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(blobs, remote), long, long);
    await rm(join(blobs, DIGEST));
    await download();
    expect(hub.downloads().at(-1)).toMatchObject({ range: "bytes=80000-" });
  });

  it("fetch the whole file again when what was left proves wrong, and when it is too long", async () => {
    const blobs = join(root, "blobs");
    await mkdir(blobs, { recursive: true });
    for (const length of [1000, WEIGHTS.length, WEIGHTS.length + 1]) {
      await writeFile(join(blobs, `${DIGEST}.partial`), new Uint8Array(length));
      const { folder } = await download();
      await expectWeights(join(folder, "model.safetensors"));
      expect(hub.downloads().at(-1)!.range).toBeUndefined();
      await rm(dirname(folder), { recursive: true });
      await rm(join(blobs, DIGEST));
    }
  });
});
