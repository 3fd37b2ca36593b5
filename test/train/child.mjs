// A run in a process of its own, to be killed: node child.mjs OPTIONS (JSON). A line on stdout for every event.
import { Trainer } from "../../dist/train/trainer.js";
import { fakeHost } from "./fake-host.mjs";

const { delay, ...options } = JSON.parse(process.argv[2]);
const trainer = await Trainer.create(options, fakeHost({ delay }));
process.stdout.write("ready\n");
for await (const progress of trainer.run()) process.stdout.write(`${progress.kind}\n`);
await trainer.dispose();
