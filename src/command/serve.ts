import { once } from "node:events";
import { type Command, InvalidArgumentError, Option } from "commander";
import { messageOf } from "../errors.js";
import type { Params } from "../restyle/types.js";
import { type Address, parseAddress, readToken } from "../serve/address.js";
import { paramsOf, range, share } from "./augment.js";
import {
  addModelFlags,
  countFromZero,
  interruptible,
  loadOptions,
  type ModelFlags,
  note,
  numberFromZero,
  positiveInteger,
  positiveNumber,
  printJsonLine,
  wholeNumber,
} from "./shared.js";

interface ServeFlags extends ModelFlags {
  listen?: Address;
  socket?: string;
  tokenFile?: string;
  method?: string;
  params?: Params;
  portion?: number;
  p?: number;
  style?: string[];
  exclude?: string[];
  strength?: readonly [number, number];
  styleCrop?: boolean;
  seed: number;
  background?: "keep" | "paint";
  skipBlank?: boolean;
  batch?: number;
  deadlineMs?: number;
  queueImages?: number;
  queueBytes?: number;
  maxBytes?: number;
  timeout?: number;
  workers?: number;
}

/** What `--listen` takes, in the words of a flag. */
function addressOf(text: string): Address {
  try {
    return parseAddress(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

const STOP = { after: "the requests that it took", before: "it was ready", fix: "Start it again." };
const DEFAULT: Address = { host: "127.0.0.1", port: 8787 };

export function addServe(program: Command): void {
  const command = program
    .command("serve")
    .description("restyle images for training loops, over HTTP (docs/service.md)")
    .addOption(new Option("--listen <host:port>", "where (default: 127.0.0.1:8787); port 0: any").argParser(addressOf))
    .addOption(new Option("--socket <path>", "a Unix socket in place of a port").conflicts("listen"))
    .option("--token-file <file>", "what clients must send; without one the service listens to this machine alone")
    .option("--method <names>", "NAME[:WEIGHT],...: each image gets one, drawn by weight (default: stylizing-vit)")
    .option("--params <json>", "numbers of the method, or of several by name; what is missing is drawn", paramsOf)
    .option("--p <share>", "how often an image is restyled at all, from 0 to 1 (default: 1)", share)
    .option("--portion <share>", "the same under its published name", share)
    .option("--style <path...>", "images, or folders of images, to draw styles from where a request brings none")
    .option("--exclude <folder...>", "images that must not be among the styles: validation and test splits")
    .option("--strength <a:b>", "between the image, 0, and its restyled one, 1; drawn between two (default: 1)", range)
    .option("--style-crop", "take a square of the style, half to all of its shorter side")
    .option("--seed <n>", "of all that is drawn", wholeNumber, 0)
    .addOption(
      new Option("--background <way>", "keep: bare glass stays as it is; paint: everything is painted").choices([
        "keep",
        "paint",
      ]),
    )
    .option("--skip-blank", "leave tiles without tissue as they are")
    .option("--batch <n>", "images per submission; results do not depend on it", positiveInteger)
    .option("--deadline-ms <n>", "how long a free device waits for a batch to fill, at most (default: 20)", numberFromZero)
    .option("--queue-images <n>", "images that wait, at most (default: 1024)", positiveInteger)
    .option("--queue-bytes <n>", "bytes of requests that are held, at most (default: 512 MiB)", positiveInteger)
    .option("--max-bytes <n>", "bytes of a request, at most (default: 128 MiB)", positiveInteger)
    .option("--timeout <seconds>", "for a client to send a request, and to take its answer (default: 30)", positiveNumber)
    .option("--workers <n>", "threads that read the images of --style; 0: none", countFromZero)
    .option("--model <name>", "of stylizing-vit: a published name, a folder, a .safetensors file, or demo", "demo");
  addModelFlags(command, { tune: false, json: "print a JSON line on stdout once it listens" }).action(
    async (flags: ServeFlags) => {
      const { listen, socket, tokenFile, timeout, json, config, preset, precision, adapter, ...rest } = flags;
      // Only here: no other verb needs an HTTP server.
      const { Service } = await import("../serve/service.js");
      const options = {
        ...rest,
        address: socket === undefined ? (listen ?? DEFAULT) : { path: socket },
        token: tokenFile === undefined ? undefined : await readToken(tokenFile),
        timeoutMs: timeout === undefined ? undefined : timeout * 1000,
        load: loadOptions(flags),
        onNote: note,
      };
      await interruptible(async (signal) => {
        await using service = await Service.open(options, signal);
        note(`listening on ${service.url}`);
        if (json) printJsonLine({ url: service.url, adapters: service.adapters });
        if (!signal.aborted) await once(signal, "abort");
      }, STOP);
    },
  );
}
