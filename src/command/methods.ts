import type { Command } from "commander";
import { METHODS, methodNamed } from "../restyle/methods.js";
import type { Method } from "../restyle/types.js";
import { printJson } from "./shared.js";
import { table } from "./table.js";

/** What `--json` says of a method. */
const documentOf = ({ name, summary, source, parameters, needsStyle }: Method) => ({
  ...{ name, summary, source, needsStyle: needsStyle({}), parameters },
});

const width = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns : undefined);

/** All methods, a line each. */
function listed(): string {
  const rows = METHODS.map(({ name, summary, parameters, needsStyle }) => [
    name,
    needsStyle({}) ? "yes" : "no",
    parameters.map((one) => one.name).join(", "),
    summary,
  ]);
  const head = (text: string) => ({ head: text, align: "left" as const });
  return table(
    [head("METHOD"), head("STYLE"), { ...head("PARAMETERS"), keep: "start" }, { ...head("WHAT"), keep: "start" }],
    rows,
    width(),
  );
}

/** One method, with its parameters. */
function described({ name, summary, source, parameters, needsStyle }: Method): string {
  const style = needsStyle({}) ? "needs a style, or its numbers where there are some" : "needs no style";
  const text = [`${name}: ${summary}`, `after ${source}; ${style}`];
  for (const { name: parameter, takes, otherwise } of parameters)
    text.push("", `  ${parameter}`, `    ${takes}`, `    otherwise: ${otherwise}`);
  return `${text.join("\n")}\n`;
}

export function addMethods(program: Command): void {
  program
    .command("methods")
    .description("list what restyles images, with its parameters")
    .argument("[name]", "one of them")
    .option("--json", "print one JSON document on stdout")
    .action((name: string | undefined, flags: { json?: boolean }) => {
      const found = name === undefined ? undefined : methodNamed(name);
      if (flags.json) printJson(found ? documentOf(found) : { methods: METHODS.map(documentOf) });
      else process.stdout.write(found ? described(found) : listed());
    });
}
