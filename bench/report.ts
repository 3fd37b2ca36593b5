/** Numbers for people, tables that appear row by row, and the same as one JSON document. */

/** Three significant digits, no exponent: 0.0123, 1.23, 12.3, 123, 1 234. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const magnitude = Math.abs(value);
  if (magnitude >= 100)
    return Math.round(value)
      .toString()
      .replace(/\B(?=(\d{3})+$)/g, " ");
  if (magnitude >= 10) return value.toFixed(1);
  if (magnitude >= 1 || magnitude === 0) return value.toFixed(2);
  return value.toPrecision(2).includes("e") ? value.toExponential(1) : value.toPrecision(3);
}

export function duration(milliseconds: number): string {
  if (!Number.isFinite(milliseconds)) return "–";
  if (milliseconds >= 1000) return `${number(milliseconds / 1000)} s`;
  return milliseconds >= 1 ? `${number(milliseconds)} ms` : `${number(milliseconds * 1000)} µs`;
}

export const mebibytes = (bytes: number): string => `${number(bytes / 2 ** 20)} MiB`;
export const percent = (share: number): string => `${Math.round(100 * share)} %`;

/** Of the JSON documents: one more where a reader of the old ones would misread the new. bench/README.md says what they hold. */
export const SCHEMA_VERSION = 1;

/** A column: its title, its width, and whether it holds numbers. The first one of a table is wide and holds names. */
export type Column = readonly [title: string, width: number];

export class Report {
  readonly document: Record<string, unknown> = { schemaVersion: SCHEMA_VERSION };
  readonly failures: string[] = [];
  readonly #write: (text: string) => void;
  #columns: readonly Column[] = [];

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  line(text = ""): void {
    this.#write(`${text}\n`);
  }

  /** Opens a section; the entry of the document that it returns is filled as rows come. */
  section<T>(name: string, title: string): T[] {
    this.line(`\n${title}`);
    this.line("─".repeat([...title].length));
    const known = this.document[name];
    if (Array.isArray(known)) return known as T[];
    const rows: T[] = [];
    this.document[name] = rows;
    return rows;
  }

  table(...columns: readonly Column[]): void {
    this.#columns = columns;
    this.row(...columns.map(([title]) => title));
  }

  row(...cells: readonly string[]): void {
    const text = cells.map((cell, index) => {
      const width = this.#columns[index]?.[1] ?? 0;
      return index === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    this.line(text.join("  ").trimEnd());
  }

  /** A check that failed: printed, remembered for the exit code, and no time stands beside it. */
  fail(what: string, why: string): void {
    this.failures.push(`${what}: ${why}`);
    this.line(`FAILED  ${what}: ${why}. No time is given for it.`);
  }
}
