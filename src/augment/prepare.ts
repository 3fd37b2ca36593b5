import { StylizingError } from "../errors.js";
import { ensureOutputFile, ensureOutputFolder, removeStale } from "../image/atomic-write.js";
import { tellingLeftOut } from "../image/folder.js";
import {
  type InputFile,
  knownErrors,
  listInputs,
  type PaintJob,
  pairJobs,
  pathsOf,
  refuseUnreadable,
  resultFile,
} from "./inputs.js";
import { inPages } from "./load.js";
import { checkOutputs, refuseExisting } from "./outputs.js";
import type { FilesOptions, ImageReport, ImagesReport } from "./report.js";

/** Files that were found, and what is to be made of them. */
export interface Prepared<Options> {
  contents: InputFile[];
  styles: InputFile[];
  /** Those whose results are not there yet. */
  left: PaintJob[];
  /** Without a sheet where that is there already. */
  options: Options;
  /** A report on all jobs: what is not among those that were done was there already. */
  reportOn(done: ReadonlyMap<PaintJob, ImageReport>, milliseconds: number): ImagesReport;
}

/**
 * Looks for inputs and at where results go, before anything is loaded.
 * @param check looks at the contents, before they are paired.
 * @throws StylizingError `ARGUMENT` for no inputs or results that exist already, `OUTPUT` where there can be none.
 */
export async function prepareFiles<Options extends FilesOptions>(
  given: Options,
  check: (contents: readonly InputFile[]) => void,
): Promise<Prepared<Options>> {
  const { onNote, existing = "refuse" } = given;
  const [contents, styles] = await tellingLeftOut(onNote, async (leftOut) => [
    await inPages(await listInputs(given.content, { out: given.out, leftOut, slides: true }), given.page),
    await inPages(await listInputs(given.style, { out: given.out, leftOut }), given.page),
  ]);
  for (const [what, files, paths] of [
    ["content", contents, given.content],
    ["style", styles, given.style],
  ] as const) {
    if (files.length > 0 || (what === "style" && !given.needsStyle)) continue;
    const problem = `There is no ${what} image in ${paths.join(", ")}.`;
    throw new StylizingError("ARGUMENT", problem, "Give image files, or folders that hold some.");
  }
  check(contents);
  const jobs = pairJobs(contents, styles, given.pair, given.seed);
  refuseUnreadable(jobs, contents, styles);
  const inputs = [...contents, ...styles];
  const outputs = jobs.map((job) => resultFile(job, given));
  const there = new Set(
    await checkOutputs(
      inputs.map(({ path }) => path),
      given.sheet ? [...outputs, given.sheet] : outputs,
    ),
  );
  if (existing === "refuse") refuseExisting([...there]);
  const isLeft = (output: string) => existing !== "skip" || !there.has(output);
  const left = jobs.filter((_, index) => isLeft(outputs[index]!));
  const options = { ...given, sheet: given.sheet && isLeft(given.sheet) ? given.sheet : undefined };
  if (given.sheet && !options.sheet) onNote?.(`${given.sheet} is there already and stays as it is`);
  await ensureOutputFolder(options.out);
  if (options.sheet) await ensureOutputFile(options.sheet);
  if (jobs.some(({ slide }) => slide)) await removeStale(options.out);
  for (const reason of knownErrors(inputs)) onNote?.(`failed: ${reason}`);
  const reportOn = (painted: ReadonlyMap<PaintJob, ImageReport>, milliseconds: number): ImagesReport => {
    const images = jobs.map((job, index): ImageReport => {
      const skipped = { ...pathsOf(job, contents, styles), output: outputs[index]!, status: "skipped" } as const;
      return painted.get(job) ?? skipped;
    });
    const count = (status: ImageReport["status"]) => images.filter((image) => image.status === status).length;
    const [done, failed, stopped, skipped] = [count("done"), count("failed"), count("stopped"), count("skipped")];
    const imagesPerSecond = done === 0 ? 0 : Number(((done * 1000) / milliseconds).toFixed(3));
    return { images, done, failed, stopped, skipped, milliseconds: Math.round(milliseconds), imagesPerSecond };
  };
  return { contents, styles, left, options, reportOn };
}
