import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Augmenter } from "../../src/augment/augmenter.js";
import { safetensorsBody, safetensorsOf } from "../../src/serve/body.js";
import type { Service } from "../../src/serve/service.js";
import { startProgram } from "../command/command.js";
import { CLIENT, each, images, keys, open } from "./service.js";

/** A Python that has modules: `STYLIZING_VIT_PYTHON`, or else the system's. */
const pythonWith = (...modules: string[]): string | undefined =>
  [process.env.STYLIZING_VIT_PYTHON ?? "", "/usr/bin/python3"].find((one) => {
    try {
      execFileSync(one, ["-c", `import ${modules.join(", ")}`], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  });

const NUMPY = pythonWith("numpy");
const SEED = 5;
const TOKEN = "0123456789-abcdefghij";
const folder = mkdtempSync(join(tmpdir(), "s-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const socket = join(folder, "socket");
let service: Service;
beforeAll(async () => {
  service = await open({ method: "colorist,hed-jitter", seed: SEED, timeoutMs: 5000, maxBytes: 1 << 22, queueBytes: 1 << 23 });
  await open({ method: "hed-jitter", seed: SEED, token: TOKEN, address: { path: socket } });
});

/** Runs Python with the client in its path, and gives what it printed. */
async function python(program: string, ...args: string[]): Promise<string> {
  const env = { PYTHONPATH: CLIENT, PYTHONDONTWRITEBYTECODE: "1", OMP_NUM_THREADS: "1" };
  const { code, stdout, stderr } = await startProgram(program, args, { env }).finished;
  expect(code, stderr).toBe(0);
  return stdout;
}
const script = (text: string, ...args: string[]) =>
  python(NUMPY!, "-c", `import sys, json, numpy as np\nfrom stylizing_vit import *\n${text}`, ...args);

/** The colours of `images(count, size, seed)`, in Python. */
const IMAGES = `
def images(count, size, seed):
    x, out = (seed * 2654435761) % 2**32, np.empty((count, size * size * 3), np.uint8)
    for i in range(out.size):
        x = (x * 1664525 + 1013904223) % 2**32
        out.flat[i] = 60 + 40 * (i // (size * size * 3) % 3) + (x >> 26)
    return out.reshape(count, size, size, 3)
`;

describe.skipIf(!NUMPY)(`the Python client${NUMPY ? "" : " (skipped: no python3 has numpy)"}`, () => {
  it("gives the bytes and records of the Augmenter, for arrays of styles and for names", async () => {
    const printed = await script(
      `${IMAGES}
x = images(6, 16, 3)
with Augmenter(sys.argv[1], p=0.9, strength=(0.5, 1)) as augment:
    y = augment(x[:, ::1], [f"tile {i}" for i in range(6)], epoch=2, styles=np.roll(x, 1, axis=0))
    ops = augment.ops
    assert y.dtype == np.uint8 and y.flags.writeable
    augment.style("look", x[0])
    z = augment(x[:1], ["tile 0"], styles="look")
    assert augment.ops[0] == [] or augment.ops[0][0].get("style", {"key": "look"})["key"] == "look"
    augment.delete_style("look")
print(json.dumps({"shape": y.shape, "data": y.tobytes().hex(), "ops": ops}))`,
      service.url,
    );
    const x = each(images(6, 16, 3));
    const choices = {
      method: "colorist,hed-jitter",
      p: 0.9,
      strength: [0.5, 1],
      seed: SEED,
      load: { adapter: "software" },
      workers: 0,
    } as const;
    await using augmenter = await Augmenter.open(choices);
    const expected = await augmenter.apply(x, keys(6), 2, { styles: [x[5]!, ...x.slice(0, 5)] });
    const found = JSON.parse(printed) as { shape: number[]; data: string; ops: unknown };
    expect(found.shape).toEqual([6, 16, 16, 3]);
    expect(found.data).toBe(Buffer.concat(expected.map(({ image }) => image.data)).toString("hex"));
    expect(found.ops).toEqual(expected.map(({ ops }) => ops));
  });

  it("takes a socket and a token, threads, forks and pickles, and arrays in any order of memory", async () => {
    const printed = await script(
      `import pickle, os, threading
${IMAGES}
x, names = images(4, 16, 3), list("abcd")
augment = Augmenter(sys.argv[1], token=sys.argv[2], seed=9)
y = augment(x, names)
assert not np.array_equal(x, y)
# A view of memory with channels first.
assert np.array_equal(augment(np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1), names), y)
assert np.array_equal(pickle.loads(pickle.dumps(augment))(x, names), y)
same = []
threads = [threading.Thread(target=lambda: same.append(np.array_equal(augment(x, names), y))) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(augment(x, names), y) else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(augment(x, names), y)
print(same)`,
      socket,
      TOKEN,
    );
    expect(printed).toBe("[True, True, True, True]\n");
  });

  it("says what is wrong, with a code and a cure", async () => {
    const printed = await script(
      `import pickle
x, out = np.zeros((2, 8, 8, 3), np.uint8), []
def attempt(augment, *args, **more):
    try:
        augment(*args, **more)
    except AugmenterError as error:
        assert error.fix in str(error) or error.status is None
        assert pickle.loads(pickle.dumps(error)).code == error.code
        out.append([error.code, error.status, str(error)])
    else:
        out.append(None)
augment = Augmenter(sys.argv[1])
attempt(augment, x.astype(np.float32), "ab")
attempt(augment, x.transpose(0, 3, 1, 2), "ab")
attempt(augment, x, "a")
attempt(augment, x, "ab", styles=["nix"])
attempt(Augmenter(sys.argv[1], method="nix"), x, "ab")
attempt(augment, np.zeros((40, 256, 256, 3), np.uint8), ["k"] * 40)
attempt(Augmenter(sys.argv[2], token="wrong"), x, "ab")
attempt(Augmenter("http://127.0.0.1:9", patience=0.3), x, "ab")
attempt(augment, x, "ab", styles=x)
print(json.dumps(out))`,
      service.url,
      socket,
    );
    expect(JSON.parse(printed)).toEqual([
      ["ARGUMENT", null, expect.stringContaining("float32")],
      ["ARGUMENT", null, expect.stringContaining("(2, 3, 8, 8)")],
      ["ARGUMENT", 400, expect.stringContaining("2 images and 1 keys")],
      ["NOT_FOUND", 404, expect.stringContaining('no style "nix"')],
      ["ARGUMENT", 400, expect.stringContaining("nix")],
      ["TOO_LARGE", 413, expect.stringContaining("are the most")],
      ["UNAUTHORIZED", 401, expect.stringContaining("wrong")],
      ["UNREACHABLE", null, expect.stringContaining("cannot be reached")],
      null,
    ]);
  });

  describe("where the service is busy or has gone", () => {
    let busy: Server;
    let answers: ((body: Buffer) => { status: number; headers?: Record<string, string>; body: Uint8Array } | undefined)[];
    let requests: number;
    beforeAll(async () => {
      busy = createServer((request, response) => {
        const pieces: Buffer[] = [];
        request.on("data", (piece: Buffer) => pieces.push(piece));
        request.on("end", () => {
          requests++;
          const answer = answers.shift()?.(Buffer.concat(pieces));
          if (!answer) request.socket.destroy();
          else response.writeHead(answer.status, answer.headers).end(answer.body);
        });
      });
      await new Promise<void>((resolve) => busy.listen(0, "127.0.0.1", resolve));
      return () => void busy.close();
    });
    const url = () => `http://127.0.0.1:${(busy.address() as AddressInfo).port}`;
    const refusal = (status: number, code: string) => () => ({
      ...{ status, headers: { "retry-after": "1" } },
      body: Buffer.from(JSON.stringify({ error: { code, message: "Later. Wait.", fix: "Wait." } })),
    });
    const echo = (body: Buffer) => {
      const { shape, data } = safetensorsBody(body).tensors.get("images")!;
      return { status: 200, body: safetensorsOf("images", shape, [data], { ops: "[[]]" }) };
    };
    const one = `
import time
start = time.monotonic()
try:
    print(Augmenter(sys.argv[1], patience=float(sys.argv[2]))(np.full((1, 2, 2, 3), 7, np.uint8), ["a"]).sum(), end=" ")
except AugmenterError as error:
    print(error.code, end=" ")
print(round(time.monotonic() - start, 1))`;

    it("comes again after the seconds that it is told", async () => {
      [answers, requests] = [[refusal(429, "BUSY"), () => undefined, echo], 0];
      const [sum, seconds] = (await script(one, url(), "30")).split(" ");
      expect([sum, requests]).toEqual(["84", 3]);
      expect(Number(seconds)).toBeGreaterThanOrEqual(1);
      expect(Number(seconds)).toBeLessThan(6);
    });

    it("gives up when its patience is over, and at once where asking again is no use", async () => {
      answers = Array.from({ length: 9 }, () => refusal(429, "BUSY"));
      expect(await script(one, url(), "0.3")).toMatch(/^BUSY/);
      [answers, requests] = [[refusal(503, "STOPPING")], 0];
      expect(await script(one, url(), "30")).toMatch(/^STOPPING 0/);
      expect(requests).toBe(1);
    });
  });
});

describe("examples", () => {
  const of = (name: string) => join(CLIENT, "examples", name);
  const TORCH = pythonWith("numpy", "torch");
  const WEBDATASET = pythonWith("numpy", "webdataset");
  const MONAI = pythonWith("numpy", "monai");

  it.skipIf(!NUMPY)("collate_fn.py", async () => {
    expect(await python(NUMPY!, of("collate_fn.py"), service.url)).toMatch(/^\(8, 24, 24, 3\) uint8 \[0, 1/);
    if (TORCH) expect(await python(TORCH, of("collate_fn.py"), service.url)).toMatch(/two workers give the same bytes/);
  });

  it.skipIf(!TORCH)(`torch_loop.py${TORCH ? "" : " (skipped: no python3 has torch)"}`, async () => {
    const lines = (await python(TORCH!, of("torch_loop.py"), service.url)).trim().split("\n");
    const epochs = lines.map((line) => /^epoch \d: loss ([\d.]+), (\d+) of (\d+) images/.exec(line)!.slice(1).map(Number));
    expect(epochs).toHaveLength(3);
    expect(epochs[2]![0]).toBeLessThan(epochs[0]![0]!);
    // A third of them, give or take three deviations of the draws.
    expect(Math.abs(epochs[2]![1]! / epochs[2]![2]! - 0.33)).toBeLessThan(3 * Math.sqrt((0.33 * 0.67) / 384));
  });

  it.skipIf(!WEBDATASET)(`webdataset_example.py${WEBDATASET ? "" : " (skipped: no python3 has webdataset)"}`, async () => {
    const printed = await python(WEBDATASET!, of("webdataset_example.py"), service.url);
    expect(printed.match(/\(4, 24, 24, 3\)/g)).toHaveLength(2);
  });

  it.skipIf(!MONAI)(`monai_transform.py${MONAI ? "" : " (skipped: no python3 has monai)"}`, async () => {
    expect(await python(MONAI!, of("monai_transform.py"), service.url)).toMatch(/^\(3, 24, 24\) 0\.\d+ to [01]\.\d+ 576/m);
  });
});
