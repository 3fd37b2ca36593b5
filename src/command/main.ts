#!/usr/bin/env node
import { closeSync } from "node:fs";
import { runProgram } from "./program.js";
import { EXIT, note } from "./shared.js";

let closed = false;
// A reader that has had enough (`| head`) is no failure, nor is a terminal that was closed; a full disk behind stdout is one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    closed ||= error.code === "EIO" && stream.isTTY;
    if (error.code === "EPIPE" || closed) return;
    if (stream === process.stdout) note(`stylizing-vit: stdout cannot be written: ${error.message}.`);
    process.exitCode = EXIT.failed;
  });
}

// Node puts a terminal's modes back when it ends, and aborts where there is no terminal any more.
process.on("exit", () => {
  if (closed) for (const descriptor of [0, 1, 2]) closeSync(descriptor);
});

await runProgram(process.argv.slice(2));
