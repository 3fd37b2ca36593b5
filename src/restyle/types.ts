import type { PixelImage } from "../image/types.js";

/** A method's number, name, vector or matrix; inside `table` vectors by name. */
export type ParamValue =
  | number
  | string
  | boolean
  | readonly number[]
  | readonly (readonly number[])[]
  | Readonly<Record<string, readonly number[]>>;

/** Explicit numbers of a method, by the names that `--params` and manifests have: `scale`, `targetMean` and so on. */
export type Params = Readonly<Record<string, ParamValue>>;

/** Draws a number in [0, 1), a pure function of its index (and of what the caller has bound: seed, epoch, key, method). */
export type Draw = (index: number) => number;

/** What `stylizing-vit methods` says of a parameter. */
export interface Parameter {
  name: string;
  /** In the field's words, with its unit or its choices: "2 numbers, one a stain". */
  takes: string;
  /** What it is where it is not given: a value, or how it is drawn. */
  otherwise: string;
}

/** What is to be known of a method without a device. */
export interface Method {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** The paper or code that it is from. */
  readonly source: string;
  readonly parameters: readonly Parameter[];
  /** Whether an image is needed to take statistics from, with these numbers given. */
  needsStyle(params: Params): boolean;
  /** Whether an image would be taken from where one is given. */
  takesStyle(params: Params): boolean;
  /** @throws StylizingError `ARGUMENT` for an unknown name or a value that a parameter cannot have. */
  check(params: Params): void;
  /** All numbers: what is given as it is, the rest by default or drawn. What a style says is not among them yet. */
  settle(params: Params, draw: Draw): Params;
}

/** Styles whose statistics stay on the device. */
export interface RestyleBank extends Disposable {
  readonly size: number;
}

export interface RestyleJob {
  readonly content: PixelImage;
  /** Its number in the bank, or an image; missing where the method needs none. */
  readonly style?: number | PixelImage | undefined;
  /** Of `Method.settle`: nothing is drawn any more. */
  readonly params: Params;
  /** From 0, the content, to 1, the result; default 1. */
  readonly strength?: number | undefined;
}

export interface RestyleOptions {
  bank?: RestyleBank | undefined;
  /** Bare glass: `keep`, it stays as it is, or `paint`. By default as the method has it published. */
  background?: "keep" | "paint" | undefined;
  /** Contents whose mean tissue weight is below 1 % come back as they are, `applied: false`; default false. */
  skipBlank?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Whether results lie in shared memory, for other threads to take. */
  shared?: boolean | undefined;
}

export interface Restyled {
  /** Of the content's size and channels. */
  readonly image: PixelImage;
  /** False where the method declined: the image is then the content's, unchanged. */
  readonly applied: boolean;
  /** All numbers, with those that were taken from the style: enough to compute the result again without it, but for methods whose style is an image. */
  readonly params: Params;
}

/** One interface for the model and for the closed forms beside it. */
export interface Restyler extends AsyncDisposable {
  readonly method: Method;
  /** What it runs on, for reports. */
  readonly report: { readonly adapter: string; readonly [more: string]: unknown };
  /** Statistics of styles, computed once and kept. @throws StylizingError `ARGUMENT` where there are none */
  styleBank(styles: readonly PixelImage[], signal?: AbortSignal): Promise<RestyleBank>;
  /**
   * Restyles images of any sizes, in order. Bits depend on a job alone and not on those beside it.
   * @throws StylizingError `ARGUMENT`, `GPU`, `DEVICE_LOST`; the signal's reason when aborted.
   */
  restyle(jobs: readonly RestyleJob[], options?: RestyleOptions): Promise<Restyled[]>;
}
