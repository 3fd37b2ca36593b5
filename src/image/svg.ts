/** Text for an SVG: what has a meaning in XML is escaped, and characters that XML cannot hold become "?". */
export const quoted = (content: string): string =>
  content
    .replace(/\s+/g, " ")
    .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "?")
    .replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** A line of text at a place in pixels; `more` are attributes. */
export const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${quoted(content)}</text>`;

/** About the width of a text in pixels in Helvetica or Arial, rather too wide than too narrow. */
export function approximateWidth(content: string, size: number): number {
  let ems = 0;
  for (const character of content) {
    if (/[\u2e80-\u{10ffff}]/u.test(character)) ems += 1.05;
    else if (/[iljtfrI.,:;'|!()[\]\s/-]/.test(character)) ems += 0.36;
    else if (/[A-Zmw%@&]/.test(character)) ems += 0.8;
    else ems += 0.58;
  }
  return ems * size;
}

/** A text that is at most `width` pixels wide: whole, or with "…" in its middle. */
export function shortened(content: string, width: number, size: number): string {
  const letters = Array.from(content);
  if (approximateWidth(content, size) <= width) return content;
  for (let keep = letters.length - 1; keep > 0; keep--) {
    // Both ends tell names apart: those of one family share the beginning.
    const shorter = [...letters.slice(0, Math.ceil(keep / 2)), "…", ...letters.slice(letters.length - Math.floor(keep / 2))];
    if (approximateWidth(shorter.join(""), size) <= width) return shorter.join("");
  }
  return "…";
}
