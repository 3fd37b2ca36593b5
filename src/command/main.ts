#!/usr/bin/env node
import { runProgram } from "./program.js";
import { EXIT, note } from "./shared.js";

// A reader that has had enough (`| head`) is no failure, nor is a terminal that was closed; a full disk behind stdout is one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || (error.code === "EIO" && stream.isTTY)) return;
    if (stream === process.stdout) note(`stylizing-vit: stdout cannot be written: ${error.message}.`);
    process.exitCode = EXIT.failed;
  });
}

await runProgram(process.argv.slice(2));
