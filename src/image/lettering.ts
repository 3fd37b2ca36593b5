/**
 * Lettering that needs no font: a container often has none, and SVG text is then drawn as boxes or not at all. Every
 * glyph is a few pen strokes, an SVG path on a grid whose capitals reach from y = 0 to the baseline y = 7; the letter
 * x ends at 2.5 and descenders at 9.1.
 */
const BOWL = "M4 4.75a2 2.25 0 1 1-4 0a2 2.25 0 1 1 4 0";
const ROUND = "M5.2 3.5a2.6 3.5 0 1 1-5.2 0a2.6 3.5 0 1 1 5.2 0";
const LOOP = "M0 7V0H2.3Q4.3 0 4.3 1.95Q4.3 3.9 2.3 3.9H0";

/** Character: width in grid units, strokes. */
const GLYPHS: Readonly<Record<string, readonly [number, string]>> = {
  " ": [1.4, ""],
  "!": [0.6, "M.3 0V4.8M.3 6.8V7"],
  '"': [2, "M.2 0V2M1.8 0V2"],
  "#": [4.4, "M1.4 0L.8 7M3.6 0L3 7M0 2.2H4.4M0 4.8H4.4"],
  $: [4, "M3.7 1.6Q3.2.7 2 .7Q.2.7.2 2Q.2 3.1 2 3.4Q4 3.8 4 5Q4 6.3 2 6.3Q.4 6.3 0 5.2M2-.3V7.3"],
  "%": [6, "M2 1.6a1 1.5 0 1 1-2 0a1 1.5 0 1 1 2 0M6 5.4a1 1.5 0 1 1-2 0a1 1.5 0 1 1 2 0M4.8 0L1.2 7"],
  "&": [5, "M5 7L1.2 2.6Q.4 1.7.7.9Q1 0 1.9 0Q3.1 0 3.1 1.3Q3.1 2.4 1.7 3.1Q0 3.9 0 5.3Q0 7 1.9 7Q3.9 7 4.4 4"],
  "'": [0.6, "M.3 0V2"],
  "(": [1.6, "M1.6-.6Q0 1.2 0 3.6Q0 6 1.6 7.9"],
  ")": [1.6, "M0-.6Q1.6 1.2 1.6 3.6Q1.6 6 0 7.9"],
  "*": [3.4, "M1.7.2V3.6M.2 1L3.2 2.8M3.2 1L.2 2.8"],
  "+": [4, "M2 2V6M0 4H4"],
  ",": [0.6, "M.5 6.7V7L0 8.2"],
  "-": [2.4, "M0 4.3H2.4"],
  ".": [0.6, "M.3 6.8V7"],
  "/": [2.8, "M0 7.8L2.8-.4"],
  "0": [4, "M4 3.5a2 3.5 0 1 1-4 0a2 3.5 0 1 1 4 0"],
  "1": [4, "M.7 1.5L2.3 0V7M.7 7H3.8"],
  "2": [4, "M.2 1.8Q.3 0 2 0Q3.8 0 3.8 1.8Q3.8 2.9 2.6 4.1L0 7H4"],
  "3": [4, "M.3 1.3Q.8 0 2 0Q3.7 0 3.7 1.7Q3.7 3.3 1.5 3.3Q4 3.3 4 5.1Q4 7 2 7Q.5 7 0 5.6"],
  "4": [4.2, "M3 7V0L0 4.9H4.2"],
  "5": [4, "M3.6 0H.6L.3 3.2Q1 2.6 2 2.6Q4 2.6 4 4.8Q4 7 1.9 7Q.5 7 0 5.8"],
  "6": [4, "M3.6.7Q3 0 2.2 0Q0 0 0 4.4Q0 7 2 7Q4 7 4 4.9Q4 2.8 2 2.8Q.3 2.8 0 4.4"],
  "7": [4, "M0 0H4L1.5 7"],
  "8": [4, "M2 3.3Q.2 3.3.2 1.65Q.2 0 2 0Q3.8 0 3.8 1.65Q3.8 3.3 2 3.3Q0 3.3 0 5.15Q0 7 2 7Q4 7 4 5.15Q4 3.3 2 3.3"],
  "9": [4, "M.4 6.3Q1 7 1.8 7Q4 7 4 2.6Q4 0 2 0Q0 0 0 2.1Q0 4.2 2 4.2Q3.7 4.2 4 2.6"],
  ":": [0.6, "M.3 3V3.2M.3 6.8V7"],
  ";": [0.6, "M.4 3V3.2M.5 6.7V7L0 8.2"],
  "<": [3.6, "M3.6 1.6L0 4L3.6 6.4"],
  "=": [4, "M0 3H4M0 5.2H4"],
  ">": [3.6, "M0 1.6L3.6 4L0 6.4"],
  "?": [3.6, "M.2 1.5Q.4 0 1.9 0Q3.6 0 3.6 1.6Q3.6 2.6 2.6 3.2Q1.8 3.8 1.8 4.9M1.8 6.8V7"],
  "@": [
    6.2,
    "M4.4 3.5a1.4 1.6 0 1 1-2.8 0a1.4 1.6 0 1 1 2.8 0V4.4Q4.5 5.3 5.3 5.2Q6.2 4.9 6.2 3.4Q6 0 3.1 0Q0 0 0 3.6Q0 7.3 3.2 7.3Q4.2 7.3 5 6.9",
  ],
  A: [4.8, "M0 7L2.4 0L4.8 7M.85 4.6H3.95"],
  B: [4.3, "M0 0V7H2.3Q4.3 7 4.3 5.1Q4.3 3.3 2.3 3.3H0M2.2 3.3Q4 3.3 4 1.65Q4 0 2.2 0H0"],
  C: [4.7, "M4.7 1.4A2.6 3.5 0 1 0 4.7 5.6"],
  D: [4.7, "M0 0V7H1.7Q4.7 7 4.7 3.5Q4.7 0 1.7 0Z"],
  E: [3.9, "M3.9 0H0V7H3.9M0 3.3H3.4"],
  F: [3.9, "M3.9 0H0V7M0 3.4H3.3"],
  G: [4.8, "M4.7 1.4A2.6 3.5 0 1 0 4.8 5.4V3.8H2.9"],
  H: [4.4, "M0 0V7M4.4 0V7M0 3.4H4.4"],
  I: [2, "M0 0H2M1 0V7M0 7H2"],
  J: [2.8, "M2.8 0V5.2Q2.8 7 1.3 7Q.2 7 0 5.7"],
  K: [4.4, "M0 0V7M4.2 0L0 4.2M1.6 2.8L4.4 7"],
  L: [3.7, "M0 0V7H3.7"],
  M: [5.4, "M0 7V0L2.7 5L5.4 0V7"],
  N: [4.4, "M0 7V0L4.4 7V0"],
  O: [5.2, ROUND],
  P: [4.3, LOOP],
  Q: [5.2, `${ROUND}M3.2 5.2L5.2 7.4`],
  R: [4.4, `${LOOP}M2.2 3.9L4.4 7`],
  S: [4.3, "M4 1.3Q3.4 0 2.1 0Q.2 0 .2 1.7Q.2 2.9 2.1 3.3Q4.3 3.8 4.3 5.2Q4.3 7 2.1 7Q.5 7 0 5.6"],
  T: [4.6, "M0 0H4.6M2.3 0V7"],
  U: [4.4, "M0 0V4.7Q0 7 2.2 7Q4.4 7 4.4 4.7V0"],
  V: [4.8, "M0 0L2.4 7L4.8 0"],
  W: [6.8, "M0 0L1.7 7L3.4.8L5.1 7L6.8 0"],
  X: [4.4, "M0 0L4.4 7M4.4 0L0 7"],
  Y: [4.6, "M0 0L2.3 3.5V7M4.6 0L2.3 3.5"],
  Z: [4.4, "M.1 0H4.3L0 7H4.4"],
  "[": [1.5, "M1.5-.6H0V7.9H1.5"],
  "\\": [2.8, "M0-.4L2.8 7.8"],
  "]": [1.5, "M0-.6H1.5V7.9H0"],
  "^": [3.8, "M.2 2.4L1.9 0L3.6 2.4"],
  _: [4, "M0 8H4"],
  "`": [1, "M0 0L1 1.3"],
  a: [4, `${BOWL}M4 2.5V7`],
  b: [4, `${BOWL}M0 0V7`],
  c: [3.8, "M3.8 3.4A2.1 2.25 0 1 0 3.8 6.1"],
  d: [4, `${BOWL}M4 0V7`],
  e: [4, "M0 4.7H4A2 2.25 0 1 0 3.5 6.3"],
  f: [2.6, "M2.8.2Q1.1-.4 1.1 1.6V7M0 2.7H2.5"],
  g: [4, `${BOWL}M4 2.5V7.2Q4 9.1 2 9.1Q.8 9.1.3 8.5`],
  h: [3.7, "M0 0V7M0 4.5Q0 2.5 1.9 2.5Q3.7 2.5 3.7 4.5V7"],
  i: [0.6, "M.3 2.5V7M.3.5V.7"],
  j: [1.5, "M1.2 2.5V7.8Q1.2 9.1 0 9.1M1.2.5V.7"],
  k: [3.7, "M0 0V7M3.5 2.5L0 5.2M1.3 4.2L3.7 7"],
  l: [1.2, "M.2 0V5.9Q.2 7 1.2 7"],
  m: [6, "M0 2.5V7M0 4.3Q0 2.5 1.5 2.5Q3 2.5 3 4.3V7M3 4.3Q3 2.5 4.5 2.5Q6 2.5 6 4.3V7"],
  n: [3.7, "M0 2.5V7M0 4.5Q0 2.5 1.9 2.5Q3.7 2.5 3.7 4.5V7"],
  o: [4, BOWL],
  p: [4, `${BOWL}M0 2.5V9.2`],
  q: [4, `${BOWL}M4 2.5V9.2`],
  r: [2.2, "M0 2.5V7M0 4.4Q.2 2.5 2.2 2.6"],
  s: [3.4, "M3.2 3.3Q2.8 2.5 1.7 2.5Q.2 2.5.2 3.6Q.2 4.5 1.7 4.7Q3.4 5 3.4 5.9Q3.4 7 1.7 7Q.4 7 0 6.1"],
  t: [2.4, "M1 .9V5.8Q1 7 2.4 6.9M0 2.7H2.3"],
  u: [3.7, "M0 2.5V5.1Q0 7 1.8 7Q3.7 7 3.7 5.1M3.7 2.5V7"],
  v: [3.8, "M0 2.5L1.9 7L3.8 2.5"],
  w: [5.6, "M0 2.5L1.4 7L2.8 2.8L4.2 7L5.6 2.5"],
  x: [3.6, "M0 2.5L3.6 7M3.6 2.5L0 7"],
  y: [3.8, "M0 2.5L1.9 7M3.8 2.5L1.5 8.1Q1.1 9.1 0 9.1"],
  z: [3.6, "M.1 2.5H3.5L0 7H3.6"],
  "{": [2, "M2-.6Q.9-.6.9.7V2.4Q.9 3.6 0 3.6Q.9 3.6.9 4.8V6.6Q.9 7.9 2 7.9"],
  "|": [0.6, "M.3-.6V8.2"],
  "}": [2, "M0-.6Q1.1-.6 1.1.7V2.4Q1.1 3.6 2 3.6Q1.1 3.6 1.1 4.8V6.6Q1.1 7.9 0 7.9"],
  "~": [4.3, "M0 4.6Q.4 3.3 1.3 3.6L2.9 4.5Q3.9 4.8 4.3 3.5"],
};

/** Grid units between two letters. */
const SPACING = 1.7;

/** What can be drawn of a text: ASCII; letters lose their accents, anything else becomes "?". */
function drawable(text: string): string[] {
  const plain = text
    .normalize("NFKD")
    .replace(/\p{Mark}/gu, "")
    .replace(/\s+/g, " ")
    .replaceAll("×", "x")
    .replaceAll("·", "-");
  return Array.from(plain, (letter) => (Object.hasOwn(GLYPHS, letter) ? letter : "?"));
}

/** Width in pixels of a text whose capitals are `size` pixels high. */
export function textWidth(text: string, size: number): number {
  const letters = drawable(text);
  return (letters.reduce((sum, letter) => sum + GLYPHS[letter]![0] + SPACING, -SPACING) * size) / 7;
}

/** The longest version of a text that fits into `width` pixels: whole, or with "..." in its middle. */
export function ellipsise(text: string, width: number, size: number): string {
  if (textWidth(text, size) <= width) return text;
  const letters = drawable(text);
  for (let keep = letters.length - 1; keep > 0; keep--) {
    // The end tells files apart more often than the beginning does.
    const head = Math.floor(keep / 2);
    const shorter = `${letters.slice(0, head).join("")}...${letters.slice(letters.length - (keep - head)).join("")}`;
    if (textWidth(shorter, size) <= width) return shorter;
  }
  return "...";
}

/** A text as lines of at most `width` pixels, broken between words; a longer word is ellipsised. */
export function wrap(text: string, width: number, size: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const longer = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
    if (lines.length > 0 && textWidth(longer, size) <= width) lines[lines.length - 1] = longer;
    else lines.push(ellipsise(word, width, size));
  }
  return lines;
}

export interface Lettering {
  /** Height of the capitals in pixels. */
  size: number;
  colour: string;
  /** What `x` is of the text. Default "start". */
  anchor?: "start" | "middle" | "end";
  bold?: boolean;
}

/** SVG for one line of text, `x` as the anchor says and `y` the baseline, in pixels. */
export function textSvg(text: string, x: number, y: number, { size, colour, anchor = "start", bold = false }: Lettering): string {
  const scale = size / 7;
  const left = x - { start: 0, middle: 0.5, end: 1 }[anchor] * textWidth(text, size);
  let at = 0;
  let strokes = "";
  for (const letter of drawable(text)) {
    const [width, path] = GLYPHS[letter]!;
    if (path) strokes += `<path transform="translate(${at.toFixed(2)})" d="${path}"/>`;
    at += width + SPACING;
  }
  const place = `translate(${left.toFixed(2)} ${(y - size).toFixed(2)}) scale(${scale})`;
  const pen = `stroke="${colour}" stroke-width="${bold ? 1.35 : 0.95}" stroke-linecap="round" stroke-linejoin="round"`;
  return `<g transform="${place}" fill="none" ${pen}>${strokes}</g>`;
}
