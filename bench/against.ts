// Another commit of this repository beside this checkout: `npm run bench -- --against COMMIT`.
import { join } from "node:path";
import { messageOf } from "../src/errors.js";
import type { AdapterChoice, LoadOptions, Precision } from "../src/index.js";
import { CommitFolder } from "./commit-folder.js";
import { benchModelSource, LEVELS } from "./model.js";
import { type Against, ROUNDS } from "./options.js";
import { duration, type Report } from "./report.js";
import { Rival } from "./rivals/rival.js";
import { median, medianInterval, type Summary, summarize } from "./statistics.js";

/** Milliseconds of a side in a round, in at least two turns and at most ten. */
const ROUND = 1000;
/** JavaScript of a batch is under a millisecond: batches a turn, to take the fastest of. */
const BATCHES = 4;
/** Of the interval that is reported. */
const CONFIDENCE = 0.95;
/** Of the one that says whether there were rounds enough: it is looked at up to three times, and every look may mislead. */
const LOOK_CONFIDENCE = 0.99;
/** Without a ratio to hold against, an interval is narrow enough where its ends are this close to each other. */
const NARROW = 1.02;
/** Milliseconds that the rounds of a case may take in all where more are added; the first ones are always taken. */
const BUDGET = { full: 240_000, quick: 120_000 };
/** Milliseconds to wait for a side; a large batch on a CPU takes long. */
const PATIENCE = 600_000;

const SIDES = ["commit", "here"] as const;
type Side = (typeof SIDES)[number];
/** Milliseconds a call of both sides in one round, and whose turn was first. */
export type Round = Record<Side, number> & { first: Side };

export interface AgainstRow {
  what: "pair" | "javascript" | "cold";
  model: string;
  batch: number;
  tiers: Record<Side, string>;
  pixels: Difference;
  commit: Summary;
  here: Summary;
  /** The commit's time over ours, the median of the rounds': above 1 this checkout is faster. */
  ratio: number;
  /** Holds the ratio in 95 of 100 runs; null where there were too few rounds. */
  interval: [low: number, high: number] | null;
  verdict: string;
  /** Below what `--fail-below` says. */
  failed: boolean;
  rounds: Round[];
}

export interface AgainstRequest extends Against {
  precisions: readonly Precision[];
  adapter: AdapterChoice;
  quick: boolean;
  /** The checkout. */
  root: string;
  /** The program of a side: `bench/against-child.mjs`. */
  child: string;
}

/** What a side is to load. */
interface ChildRequest {
  model: string;
  options: Pick<LoadOptions, "preset" | "mean" | "std">;
  batch: number;
  adapter: AdapterChoice;
  precision: Precision;
}

/** What a side says once it has painted. */
interface ChildHello {
  name: string;
  device: string;
  tier: string;
  /** Bytes of the images, in base64. */
  pixels: string;
}

// Statistics

/**
 * Whether more rounds would not change what is said: the interval lies on one side of the ratio that is asked about; without
 * one, on one side of 1, or it is narrow.
 */
export function isDecided(ratios: readonly number[], failBelow: number | undefined): boolean {
  const interval = medianInterval(ratios, LOOK_CONFIDENCE);
  if (!interval) return false;
  const [low, high] = interval;
  if (failBelow === undefined) return low > 1 || high < 1 || high / low < NARROW;
  return low >= failBelow || high < failBelow;
}

/**
 * What the rounds come to. The ratio is the median of the rounds' ratios, so a slow spell falls on both sides or is one odd
 * round; the interval is that of `medianInterval`. `failBelow` is held against the ratio itself, not against an end of the
 * interval: the low end would fail equal code on every noisy machine, and the high end would let a loss pass on one. Where
 * the interval reaches to both sides of it, the verdict says that it is a guess.
 */
export function judge(rounds: readonly Round[], failBelow: number | undefined) {
  const ratios = rounds.map(({ commit, here }) => commit / here);
  const ratio = median(ratios);
  const interval = medianInterval(ratios, CONFIDENCE) ?? null;
  const spans = (value: number) => interval !== null && interval[0] < value && value <= interval[1];
  const failed = failBelow !== undefined && ratio < failBelow;
  let verdict: string;
  if (failBelow !== undefined) {
    const doubt = !interval ? ", but too few rounds to tell" : spans(failBelow) ? ", but too wide to tell" : "";
    verdict = `${failed ? "FAILED: " : "not "}below ${failBelow}${doubt}`;
  } else if (!interval) verdict = "too few rounds to tell";
  else verdict = interval[0] > 1 ? "here is faster" : interval[1] < 1 ? "here is slower" : "no difference shown";
  return {
    commit: summarize(rounds.map((round) => round.commit)),
    here: summarize(rounds.map((round) => round.here)),
    ratio,
    interval,
    verdict,
    failed,
  };
}

/** Rounds until they tell, looked at whenever there are twice as many, up to `most` and to what the time allows. */
async function takeRounds(
  { least, most, budget, failBelow }: { least: number; most: number; budget: number; failBelow: number | undefined },
  take: (order: readonly Side[]) => Promise<Record<Side, number>>,
): Promise<Round[]> {
  const rounds: Round[] = [];
  const begun = performance.now();
  for (let goal = least; ; goal *= 2) {
    while (rounds.length < goal) {
      const order = rounds.length % 2 === 0 ? SIDES : ([...SIDES].reverse() as Side[]);
      rounds.push({ ...(await take(order)), first: order[0]! });
    }
    const ratios = rounds.map(({ commit, here }) => commit / here);
    const afterAsMany = 2 * (performance.now() - begun);
    if (goal >= most || afterAsMany > budget || isDecided(ratios, failBelow)) return rounds;
  }
}

/** Turns A B B A ..., so that what drifts falls on both; the fastest of each side, since what disturbs only ever adds. */
async function takeTurns(turns: number, order: readonly Side[], measure: (side: Side) => Promise<number>) {
  const fastest = { commit: Number.POSITIVE_INFINITY, here: Number.POSITIVE_INFINITY };
  for (let turn = 0; turn < turns; turn++)
    for (const side of turn % 2 === 0 ? order : [...order].reverse())
      fastest[side] = Math.min(fastest[side], await measure(side));
  return fastest;
}

// Both sides

interface Place {
  dist: string;
  /** What was tuned for one side must not serve the other. */
  cache: string;
}

/** How two batches of images differ: at most by so many levels of 255, and in what share of their values. */
export interface Difference {
  levels: number;
  share: number;
}

export function difference(one: Uint8Array, other: Uint8Array): Difference {
  if (one.length !== other.length || one.length === 0) return { levels: 255, share: 1 };
  let [levels, count] = [0, 0];
  for (const [at, value] of one.entries()) {
    levels = Math.max(levels, Math.abs(value - other[at]!));
    if (value !== other[at]) count++;
  }
  return { levels, share: count / one.length };
}

const inWords = ({ levels, share }: Difference) =>
  `${(100 * share).toPrecision(2)} % of the values differ, by ${levels} of 255 levels at most`;

/** @throws Error where both sides do not paint the same. */
function agree(commit: ChildHello, here: ChildHello): Difference {
  const found = difference(Buffer.from(commit.pixels, "base64"), Buffer.from(here.pixels, "base64"));
  // In 16 bits a sum in another order makes a larger difference.
  const allowed = LEVELS[commit.tier === "f32" && here.tier === "f32" ? "f32" : "f16"];
  if (found.levels > allowed) throw new Error(`the images are not the same: ${inWords(found)}, and ${allowed} allowed`);
  return found;
}

const helloOf = (child: Rival) => child.hello as unknown as ChildHello;

/** Children of both sides, one at work at a time. */
class Sides {
  readonly #program: string;
  readonly #places: Record<Side, Place>;
  readonly #signal: AbortSignal;

  constructor(program: string, places: Record<Side, Place>, signal: AbortSignal) {
    this.#program = program;
    this.#places = places;
    this.#signal = signal;
  }

  async #start(side: Side, mode: "paint" | "cold", request: ChildRequest): Promise<Rival> {
    this.#signal.throwIfAborted();
    const { dist, cache } = this.#places[side];
    const env = { ...process.env, XDG_CACHE_HOME: cache };
    return await Rival.start(process.execPath, [this.#program, dist, mode, JSON.stringify(request)], PATIENCE, env);
  }

  /** Milliseconds of a new process from spawn to its first image, and what it said. */
  async cold(side: Side, request: ChildRequest): Promise<{ milliseconds: number; hello: ChildHello }> {
    const start = performance.now();
    const child = await this.#start(side, "cold", request);
    const milliseconds = performance.now() - start;
    await child.end();
    return { milliseconds, hello: helloOf(child) };
  }

  /** Starts both, one after the other, for as long as `work` takes. */
  async during<T>(
    request: ChildRequest,
    order: readonly Side[],
    work: (children: Record<Side, Rival>) => Promise<T>,
  ): Promise<T> {
    const children: Partial<Record<Side, Rival>> = {};
    const kill = () => {
      for (const child of Object.values(children)) child[Symbol.dispose]();
    };
    this.#signal.addEventListener("abort", kill);
    try {
      for (const side of order) children[side] = await this.#start(side, "paint", request);
      return await work(children as Record<Side, Rival>);
    } finally {
      this.#signal.removeEventListener("abort", kill);
      for (const child of Object.values(children)) await child.end();
    }
  }
}

const COLUMNS = [["case", 32], ["commit", 9], ["here", 9], ["ratio", 6], ["95 % interval", 14], ["rounds", 6]] as const; // biome-ignore format: a table

interface Case {
  title: string;
  what: AgainstRow["what"];
  model: string;
  child: ChildRequest;
}

class Comparison {
  readonly #sides: Sides;
  readonly #report: Report;
  readonly #rows: AgainstRow[];
  readonly #request: AgainstRequest;
  readonly #signal: AbortSignal;

  constructor(sides: Sides, request: AgainstRequest, rows: AgainstRow[], report: Report, signal: AbortSignal) {
    this.#sides = sides;
    this.#request = request;
    this.#rows = rows;
    this.#report = report;
    this.#signal = signal;
  }

  /** Compares one case. Where it fails, it says so and the others go on. */
  async run(one: Case): Promise<void> {
    try {
      await (one.what === "cold" ? this.#cold(one) : this.#warm(one));
    } catch (error) {
      this.#signal.throwIfAborted();
      this.#report.fail(one.title, messageOf(error));
    }
  }

  /**
   * Every round has two new processes. With the same code on both sides one process has been seen to be a seventh slower than
   * its twin for as long as both lived, and one that was held up goes on sleeping too long for several batches: rounds
   * of one pair of processes would agree with each other, and be wrong together.
   */
  async #warm(one: Case): Promise<void> {
    const { what, child } = one;
    const calls = what === "javascript" ? BATCHES : 1;
    let turns: number | undefined;
    await this.#compare(one, (order, check) =>
      this.#sides.during(child, order, async (sides) => {
        check(helloOf(sides.commit), helloOf(sides.here));
        const measure = async (side: Side) => Math.min(...(await sides[side].ask<number[]>(what, { calls }, PATIENCE)));
        // Once for nothing, in the order of the turns, so that either side follows on the same.
        // Batches of JavaScript take longer than what is timed of them, and two turns are enough.
        const once: number[] = [];
        for (const side of order) once.push(await measure(side));
        turns ??= what === "javascript" ? 2 : Math.max(2, Math.min(10, Math.round(ROUND / Math.max(...once))));
        return takeTurns(turns, order, measure);
      }),
    );
  }

  async #cold(one: Case): Promise<void> {
    // Not timed: the first process of all may unpack a driver, or tune.
    const [commit, here] = [await this.#sides.cold("commit", one.child), await this.#sides.cold("here", one.child)];
    await this.#compare(one, (order, check) => {
      check(commit.hello, here.hello);
      return takeTurns(1, order, async (side) => (await this.#sides.cold(side, one.child)).milliseconds);
    });
  }

  async #compare(
    { title, what, model, child }: Case,
    take: (order: readonly Side[], check: (commit: ChildHello, here: ChildHello) => void) => Promise<Record<Side, number>>,
  ): Promise<void> {
    const { failBelow, quick } = this.#request;
    const least = this.#request.rounds ?? (quick ? ROUNDS.quick : ROUNDS.full);
    let pixels: Difference = { levels: 0, share: 0 };
    const tiers = { commit: "", here: "" };
    const check = (commit: ChildHello, here: ChildHello) => {
      pixels = agree(commit, here);
      Object.assign(tiers, { commit: commit.tier, here: here.tier });
    };
    const settings = { least, most: (quick ? 2 : 4) * least, budget: quick ? BUDGET.quick : BUDGET.full, failBelow };
    const rounds = await takeRounds(settings, (order) => take(order, check));
    const judged = judge(rounds, failBelow);
    this.#rows.push({ what, model, batch: child.batch, tiers, pixels, ...judged, rounds });
    const { commit, here, ratio, interval, verdict, failed } = judged;
    const ends = interval ? interval.map((end) => end.toFixed(3)).join(" – ") : "–";
    // biome-ignore format: a row
    this.#report.row(title, duration(commit.median), duration(here.median), ratio.toFixed(3), ends, String(rounds.length), verdict);
    if (pixels.levels > 0) this.#report.line(`    the images are not quite the same: ${inWords(pixels)}`);
    if (tiers.commit !== tiers.here) this.#report.line(`    the commit runs in ${tiers.commit}, this checkout in ${tiers.here}`);
    if (failed) this.#report.failures.push(`${title}: ${ratio.toFixed(3)}, ${verdict.replace("FAILED: ", "")}`);
  }
}

/** Cases in their order. JavaScript and the cold start take long and tell little more of a second model: those of the first. */
function casesOf({ cases, adapter }: AgainstRequest, precision: Precision): Case[] {
  const child = ({ model, batch }: Against["cases"][number]) => ({ ...benchModelSource(model), batch, adapter, precision });
  const { model } = cases[0]!;
  const single = child({ model, batch: 1 });
  const pairs = cases.map((one) => ({
    title: `${one.model} ×${one.batch}, pairs`,
    what: "pair" as const,
    model: one.model,
    child: child(one),
  }));
  return [
    ...pairs,
    // Of an image alone on the device: what is encoded is the same for any batch, and nothing else wants the core.
    { title: `${model}, JavaScript a batch`, what: "javascript", model, child: single },
    { title: `${model}, cold start`, what: "cold", model, child: single },
  ];
}

/** Measures the working tree of this checkout against another commit of it. @throws UsageError where there is no such commit. */
export async function benchAgainst(request: AgainstRequest, report: Report): Promise<void> {
  const { root, commit, precisions } = request;
  const stop = new AbortController();
  const onSignal = () => {
    process.exitCode = 130;
    stop.abort(new Error("stopped"));
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of signals) process.once(name, onSignal);
  let folder: CommitFolder | undefined;
  try {
    folder = await CommitFolder.create(commit, root, stop.signal);
    const short = folder.sha.slice(0, 12);
    process.stderr.write(`Building ${short} ...\n`);
    await folder.build();
    const places = {
      commit: { dist: join(folder.tree, "dist"), cache: join(folder.path, "cache-commit") },
      here: { dist: join(root, "dist"), cache: join(folder.path, "cache-here") },
    };
    report.document.againstCommit = folder.sha;
    for (const precision of precisions) {
      const rows = report.section<AgainstRow>(
        "against",
        `This checkout against ${short}, ${precision} (ratio: its time over ours, above 1 ours is faster)`,
      );
      report.table(...COLUMNS);
      const comparison = new Comparison(new Sides(request.child, places, stop.signal), request, rows, report, stop.signal);
      for (const one of casesOf(request, precision)) await comparison.run(one);
    }
  } finally {
    await folder?.remove();
    for (const name of signals) process.removeListener(name, onSignal);
  }
}
