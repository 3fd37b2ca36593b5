// Images a second end to end through the service beside the same work in this process, in turns; latency by images a request; four clients at once.
//   npm run build && node bench/serve.mjs [--method colorist | --method stylizing-vit --model demo] [--size 96] [--batch 64] [--seconds 5]
//     [--adapter auto|hardware|software] [--json FILE]
// Images are tissue that this project draws, each in the style of the next one. Nothing is timed that was not checked first: the service's bytes are
// those of the Augmenter.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Augmenter, HOSPITALS, paintTissue } from "../dist/index.js";

const { values: given } = parseArgs({
  options: {
    method: { type: "string", default: "colorist" },
    model: { type: "string", default: "demo" },
    size: { type: "string", default: "96" },
    batch: { type: "string", default: "64" },
    seconds: { type: "string", default: "5" },
    adapter: { type: "string", default: "auto" },
    json: { type: "string" },
  },
});
const [size, batch, seconds] = [given.size, given.batch, given.seconds].map(Number);
const { method, model, adapter } = given;

const images = Array.from({ length: batch }, (_, seed) => {
  const { data, width, height } = paintTissue({ seed, size, hospital: HOSPITALS[seed % HOSPITALS.length] });
  return { data, width, height, channels: 3 };
});
const styles = [...images.slice(1), images[0]];
const keys = images.map((_, index) => `tile ${index}`);

/** Starts the command; its URL, and what ends it. */
async function serve(...more) {
  const main = fileURLToPath(new URL("../dist/command/main.js", import.meta.url));
  const args = [
    main,
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--method",
    method,
    "--model",
    model,
    "--adapter",
    adapter,
    "--json",
    ...more,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface(child.stdout)) return { url: JSON.parse(line).url, end: () => child.kill("SIGTERM") };
  throw new Error("the service did not start");
}

/** A body of so many images and their styles, as the Python client writes it. */
function bodyOf(count, from = 0) {
  const shape = [count, size, size, 3];
  const bytes = count * size * size * 3;
  const header = Buffer.from(
    JSON.stringify({
      __metadata__: { keys: JSON.stringify(keys.slice(from, from + count)) },
      images: { dtype: "U8", shape, data_offsets: [0, bytes] },
      styles: { dtype: "U8", shape, data_offsets: [bytes, 2 * bytes] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const some = [images, styles].flatMap((list) => list.slice(from, from + count).map(({ data }) => data));
  return Buffer.concat([length, header, ...some]);
}

/** A client with one connection. */
function client(url) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (path, options, body) =>
    new Promise((resolve, reject) => {
      const sent = request(new URL(path, url), { agent, ...options }, (response) => {
        const pieces = [];
        response.on("data", (piece) => pieces.push(piece)).on("error", reject);
        response.on("end", () => {
          const answer = Buffer.concat(pieces);
          if (response.statusCode === 200) resolve(answer);
          else reject(new Error(answer.toString()));
        });
      });
      sent.on("error", reject).end(body);
    });
  const headers = (body) => ({ "content-type": "application/safetensors", "content-length": body.length });
  return {
    restyle: (body) => ask("/v1/augment", { method: "POST", headers: headers(body) }, body),
    metrics: () => ask("/metrics", { method: "GET" }),
    close: () => agent.destroy(),
  };
}

const at = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];

/** Milliseconds of calls, for so long and three times at least. */
async function times(call, enough = seconds) {
  const all = [];
  for (let spent = 0; spent < 1000 * enough || all.length < 3; spent += all.at(-1)) {
    const start = performance.now();
    await call();
    all.push(performance.now() - start);
  }
  return all;
}

const own = await Augmenter.open({ method, model, load: { adapter }, batch });
const service = await serve("--batch", String(batch));
const rows = [];
try {
  const one = client(service.url);
  const whole = bodyOf(batch);
  const inProcess = () => own.apply(images, keys, 1, { styles });
  const expected = Buffer.concat((await inProcess()).map(({ image }) => image.data));
  if (!(await one.restyle(whole)).subarray(-expected.length).equals(expected)) throw new Error("the service gives other bytes");

  // In turns, since machines change their mind.
  const ratios = { one: [], two: [] };
  const rates = { inProcess: [], one: [], two: [] };
  const other = client(service.url);
  for (let round = 0; round < 5; round++) {
    const enough = seconds / 5;
    const [here, single] = [at(await times(inProcess, enough), 0.5), at(await times(() => one.restyle(whole), enough), 0.5)];
    const both = at(await times(() => Promise.all([one.restyle(whole), other.restyle(whole)]), enough), 0.5) / 2;
    rates.inProcess.push((1000 * batch) / here);
    rates.one.push((1000 * batch) / single);
    rates.two.push((1000 * batch) / both);
    ratios.one.push(here / single);
    ratios.two.push(here / both);
  }
  other.close();
  rows.push(["in process", at(rates.inProcess, 0.5), undefined]);
  rows.push(["one client", at(rates.one, 0.5), at(ratios.one, 0.5)]);
  rows.push(["two clients", at(rates.two, 0.5), at(ratios.two, 0.5)]);

  console.log(`${method}, ${size} px, batches of ${batch}\n\n| | images/s | of in-process |\n|---|---|---|`);
  for (const [what, rate, ratio] of rows) console.log(`| ${what} | ${rate.toPrecision(3)} | ${ratio?.toPrecision(3) ?? ""} |`);
  console.log("\n| images a request | median ms | p90 | in process, median |\n|---|---|---|---|");
  for (const count of [1, 8, 64].filter((count) => count <= batch)) {
    const body = bodyOf(count);
    const latency = await times(() => one.restyle(body), seconds / 3);
    const [some, names, looks] = [images, keys, styles].map((list) => list.slice(0, count));
    const here = await times(() => own.apply(some, names, 1, { styles: looks }), seconds / 3);
    const shown = [at(latency, 0.5), at(latency, 0.9), at(here, 0.5)].map((value) => value.toPrecision(3));
    rows.push([`latency of ${count}`, ...shown.map(Number)]);
    console.log(`| ${[count, ...shown].join(" | ")} |`);
  }
  one.close();
} finally {
  service.end();
  await own[Symbol.asyncDispose]();
}

// Four clients of four images, in batches of sixteen.
const small = await serve("--batch", "16");
try {
  const four = [0, 1, 2, 3].map((index) => ({ ...client(small.url), body: bodyOf(4, (4 * index) % batch) }));
  const until = performance.now() + 1000 * seconds;
  const latency = [];
  const start = performance.now();
  await Promise.all(
    four.map(async ({ restyle, body }) => {
      while (performance.now() < until) {
        const from = performance.now();
        await restyle(body);
        latency.push(performance.now() - from);
      }
    }),
  );
  const rate = (4000 * latency.length) / (performance.now() - start);
  const text = (await four[0].metrics()).toString();
  const [sum, count] = ["sum", "count"].map((name) =>
    Number(new RegExp(`^stylizing_vit_batch_fill_${name} (.*)$`, "m").exec(text)[1]),
  );
  rows.push(["four clients", rate, sum / count, at(latency, 0.5), at(latency, 0.9)]);
  const shown = [rate, at(latency, 0.5), at(latency, 0.9), sum / count].map((value) => value.toPrecision(3));
  console.log(
    `\n| four clients of four | images/s | median ms | p90 | fill of 16 |\n|---|---|---|---|---|\n| | ${shown.join(" | ")} |`,
  );
  for (const { close } of four) close();
} finally {
  small.end();
}
if (given.json) writeFileSync(given.json, `${JSON.stringify({ method, model, size, batch, seconds, rows }, null, 2)}\n`);
