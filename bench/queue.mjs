// Images a second of `augment --queue`: two workers of this machine against one, in turns, and one process without a queue.
//   npm run build && node bench/queue.mjs [--samples 128] [--size 96] [--copies 2] [--methods NAME,...] [--rounds 3] [--threads N]
//     [--adapter auto|hardware|software] [--json FILE]
// Tiles are drawn. It starts a Redis of its own (`redis-server`). Workers are started before the clock is, and have a part of another run behind them, so that models and
// kernels are there. Nothing is timed that was not checked: every manifest is that of the run without a queue, byte for byte. On a software adapter both
// workers share the cores that one has alone: there two are of use only as far as one leaves some idle. The rate without a queue has the start of its process and of the
// device in it, as every first run has.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { paintTissue } from "../dist/index.js";

const { values: given } = parseArgs({
  options: {
    samples: { type: "string", default: "128" },
    size: { type: "string", default: "96" },
    copies: { type: "string", default: "2" },
    methods: { type: "string", default: "macenko-augment,reinhard,hed-jitter" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "0" },
    adapter: { type: "string", default: "auto" },
    json: { type: "string" },
  },
});
const [samples, size, copies, rounds] = [given.samples, given.size, given.copies, given.rounds].map(Number);
const MAIN = fileURLToPath(new URL("../dist/command/main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-bench-"));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function draw() {
  const data = join(folder, "data", "tissue");
  mkdirSync(data, { recursive: true });
  for (let seed = 0; seed < samples; seed++) {
    const { data: pixels, width, height } = paintTissue({ size, seed, hospital: seed % 3 });
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(data, `${seed}.png`));
  }
  return join(folder, "data");
}

const env = { ...process.env, ...(given.adapter === "auto" ? {} : { STYLIZING_VIT_ADAPTER: given.adapter }) };
const children = [];

/** Seconds of a run, and what its manifest says. */
function augment(data, name, seed, queue) {
  const out = join(folder, name);
  rmSync(out, { recursive: true, force: true });
  const args = ["augment", "--in", data, "--out", out, "--method", given.methods, "--copies", `${copies}`, "--seed", `${seed}`];
  const more = ["--workers", given.threads, "--shard-size", "32", ...(queue ? ["--queue", queue] : [])];
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args, ...more], { env, encoding: "utf8" });
  const seconds = (performance.now() - start) / 1000;
  if (status !== 0) throw new Error(stderr);
  return { seconds, manifest: readFileSync(join(out, "manifest.jsonl"), "utf8") };
}

const worker = (queue) => {
  const args = ["worker", "--queue", queue, "--workers", given.threads];
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: "ignore" });
  children.push(child);
  return child;
};

try {
  const port = await freePort();
  const server = spawn("redis-server", ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", folder], {
    stdio: "ignore",
  });
  server.on("error", () => {});
  children.push(server);
  await delay(500);
  // A database for each crew, so that one does not take the other's work.
  const [one, two] = [`redis://127.0.0.1:${port}/1`, `redis://127.0.0.1:${port}/2`];
  const data = await draw();
  for (const queue of [one, two, two]) worker(queue);
  const whole = augment(data, "whole", 1);
  const times = { "no queue": [], "1 worker": [], "2 workers": [] };
  for (const queue of [one, two]) augment(data, "warm", 2, queue);
  for (let round = 0; round < rounds; round++)
    for (const [name, queue] of [["no queue"], ["1 worker", one], ["2 workers", two]]) {
      const { seconds, manifest } = augment(data, "out", 1, queue);
      if (manifest !== whole.manifest) throw new Error(`${name} made other images than a run without a queue`);
      times[name].push(seconds);
    }
  const { adapters } = JSON.parse(whole.manifest.slice(0, whole.manifest.indexOf("\n")));
  const rate = (name) => (samples * copies) / median(times[name]);
  const ratio = median(times["1 worker"].map((seconds, round) => seconds / times["2 workers"][round]));
  const about = { samples, size, copies, methods: given.methods, cores: cpus().length, adapters, rounds };
  process.stdout.write(
    `${samples} tiles of ${size} px, ${copies} copies each, ${given.methods}, ${cpus().length} cores, medians of ${rounds}\n`,
  );
  for (const name of Object.keys(times))
    process.stdout.write(`${name.padEnd(10)}${rate(name).toFixed(1).padStart(8)} images/s\n`);
  process.stdout.write(`two workers against one: ${ratio.toFixed(2)}, every manifest equal\n`);
  if (given.json) {
    const rates = Object.fromEntries(Object.keys(times).map((name) => [name, rate(name)]));
    writeFileSync(
      given.json,
      `${JSON.stringify({ schemaVersion: 1, ...about, imagesPerSecond: rates, twoAgainstOne: ratio, seconds: times }, null, 2)}\n`,
    );
  }
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
