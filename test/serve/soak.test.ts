import { Agent } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, expect, it } from "vitest";
import { build, fresh, micro, run } from "../command/command.js";
import { SLOW } from "../support/slow.js";
import { end, loadOf, type Served, serve } from "./served.js";
import { type Answer, ask, bare, errorOf, images, keys, RAW, rawPath } from "./service.js";

beforeAll(build);

const SIZE = 16;

interface Reply extends Answer {
  sent: Buffer;
}

/** A request of a client; where `strength` is 0 its answer is what was sent, and tells whether it is its own. */
async function request(url: string, client: number, number: number, count: number, agent: Agent, query = {}): Promise<Reply> {
  const { shape, data } = images(count, SIZE, 1 + client * 100_003 + number);
  const path = rawPath(shape, keys(count, `${client}.${number}`), query);
  const answer = await ask(url, path, { headers: { "content-type": RAW }, body: data, agent });
  return { ...answer, sent: Buffer.from(data) };
}

const connection = () => new Agent({ keepAlive: true, maxSockets: 1 });

/** Four clients that send one request behind the other; every second answer is to be what was sent. @returns how many others were not */
async function fourClients(url: string, requests: number, count: number, query: object, onAnswer = (_answered: number) => {}) {
  let [left, answered, restyled] = [requests, 0, 0];
  await Promise.all(
    [0, 1, 2, 3].map(async (client) => {
      const agent = connection();
      for (let number = 0; left > 0; number++) {
        left--;
        const own = number % 2 === 0;
        const { status, body, sent } = await request(url, client, number, count, agent, {
          ...query,
          ...(own ? { strength: 0 } : {}),
        });
        expect(status, body.toString()).toBe(200);
        expect(body.length).toBe(sent.length);
        const same = body.equals(sent);
        if (own) expect(same).toBe(true);
        else if (!same) restyled++;
        onAnswer(++answered);
      }
      agent.destroy();
    }),
  );
  expect(answered).toBe(requests);
  return restyled;
}

/** A service with a style. */
async function serveStyled(...args: string[]): Promise<Served> {
  const served = await serve(...args);
  const put = { headers: { "content-type": RAW }, body: images(1, SIZE, 77).data };
  expect((await ask(served.url, `/v1/styles/s?shape=${SIZE},${SIZE},3`, put)).status).toBe(201);
  return served;
}

const REQUESTS = SLOW ? 10_000 : 1000;
it(`answers ${REQUESTS} requests of four clients, in their order, and holds no more memory at their end`, async () => {
  const params = { targetMean: [0.7, 0.5, 0.6], targetDeviation: [0.1, 0.2, 0.1] };
  const served = await serve("--method", "colorist", "--params", JSON.stringify(params), "--batch", "4", "--deadline-ms", "250");
  const measured: Promise<number>[] = [];
  const restyled = await fourClients(served.url, REQUESTS, 1, {}, (answered) => {
    if (answered % (REQUESTS / 10) === 0) measured.push(loadOf(served.url).then(({ megabytes }) => megabytes));
    if (answered % 50 > 0) return;
    // Others hang up in the middle of what they send.
    const { socket } = bare(served.url);
    socket.write(
      `POST ${rawPath([1, 2, 2, 3], ["a"])} HTTP/1.1\r\nhost: a\r\ncontent-type: ${RAW}\r\ncontent-length: 12\r\n\r\nabc`,
    );
    void delay(20).then(() => socket.destroy());
  });
  const megabytes = await Promise.all(measured);
  const { fill, images: done } = await loadOf(served.url);
  if (SLOW) console.log(`fill ${fill.toFixed(3)}, ${megabytes.map(Math.round)} MB`);
  expect([restyled, done]).toEqual([REQUESTS / 2, REQUESTS]);
  expect(fill).toBeGreaterThanOrEqual(0.9);
  // What a process takes to warm up is taken by then.
  expect(megabytes.at(-1)! - megabytes[SLOW ? 0 : 3]!).toBeLessThan(20);
  await end(served);
});

it("fills batches of 16 with four clients of four images", async () => {
  const served = await serve("--method", "hed-jitter", "--batch", "16", "--deadline-ms", "250");
  await fourClients(served.url, 200, 4, {});
  const { fill, images: done } = await loadOf(served.url);
  expect(done).toBe(800);
  expect(fill).toBeGreaterThanOrEqual(0.9);
  await end(served);
});

const OF_MODEL = SLOW ? 500 : 50;
it(`answers ${OF_MODEL} requests by the model`, async () => {
  const served = await serveStyled(...micro(), "--batch", "4", "--deadline-ms", "250");
  expect(await fourClients(served.url, OF_MODEL, 1, { styles: "s" })).toBeGreaterThan(0.4 * OF_MODEL);
  await end(served);
});

it("tells clients to come again where its queue is full, and none is lost", async () => {
  const served = await serve("--method", "hed-jitter", "--batch", "4", "--queue-images", "8");
  let [done, refused] = [0, 0];
  await Promise.all(
    Array.from({ length: 8 }, async (_, client) => {
      const agent = connection();
      for (let number = 0; number < 4; ) {
        const answer = await request(served.url, client, number, 4, agent);
        if (answer.status === 200) [done, number] = [done + 1, number + 1];
        else {
          expect(errorOf(answer)).toMatchObject({ status: 429, code: "BUSY" });
          expect(Number(answer.headers["retry-after"])).toBeGreaterThanOrEqual(1);
          refused++;
          await delay(20);
        }
      }
      agent.destroy();
    }),
  );
  expect(done).toBe(32);
  expect(refused).toBeGreaterThan(0);
  await end(served);
});

it("finishes what it took when it is stopped by SIGTERM in the middle", async () => {
  const served = await serve("--method", "hed-jitter", "--batch", "8", "--deadline-ms", "5");
  let [done, refused, stopped] = [0, 0, false];
  const all = Array.from({ length: 4 }, async (_, client) => {
    const agent = connection();
    for (let number = 0; ; number++) {
      try {
        const answer = await request(served.url, client, number, 4, agent, { strength: 0 });
        if (answer.status !== 200) expect(errorOf(answer)).toMatchObject({ status: 503, code: "STOPPING" });
        else expect(answer.body.equals(answer.sent)).toBe(true);
        if (answer.status === 200) done++;
        else return void refused++;
      } catch (error) {
        // A connection that it closed while nothing was asked of it, or a new one.
        expect(stopped).toBe(true);
        expect((error as NodeJS.ErrnoException).code).toMatch(/ECONNREFUSED|ECONNRESET/);
        return void refused++;
      }
    }
  });
  while (done < 12) await delay(5);
  stopped = true;
  const { stderr } = await end(served);
  await Promise.all(all);
  expect(stderr).toMatch(/SIGTERM: stopping after the requests that it took/);
  expect(done).toBeGreaterThanOrEqual(12);
  expect(refused).toBe(4);
});

it("the command refuses a port in use, an address for all without a token, and both of two", async () => {
  const served = await serve("--method", "colorist");
  const at = new URL(served.url).host;
  for (const [args, code, says] of [
    [["--listen", at], 2, `${at} is in use`],
    [["--listen", "0.0.0.0:0"], 2, "there is no token"],
    [["--listen", "nix"], 2, "is no address"],
    [["--listen", at, "--socket", fresh("s")], 2, "cannot be used with"],
    [["--token-file", fresh("none")], 2, "cannot be read"],
    [["--max-bytes", "100", "--queue-bytes", "10"], 2, "are held at most"],
    [["--method", "nix"], 2, "nix"],
  ] as const) {
    const ended = await run(["serve", "--method", "colorist", ...args, "--json"], { here: true });
    expect([ended.code, JSON.parse(ended.stdout)], ended.stderr).toMatchObject([
      code,
      { error: { message: expect.stringContaining(says) } },
    ]);
  }
  await end(served);
});
