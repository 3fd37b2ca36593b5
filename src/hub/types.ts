/** Bytes of one file. Never goes backwards within a phase; `verify` ends with `loaded === total`. */
export interface DownloadProgress {
  /** `verify`: bytes kept from an earlier attempt are being hashed, or the whole file was found to be right. */
  readonly phase: "download" | "verify";
  readonly file: string;
  readonly loaded: number;
  readonly total: number;
}
