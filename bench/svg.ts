/** What the figures of the benches share. */

export const COLOURS = ["#3b6fb6", "#d98032", "#5a9e5a", "#b8475a", "#8468ae", "#8d6e57", "#c77fb4", "#777777", "#a5a53a"];
export const WIDTH = 960;

export const quoted = (content: string) => content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

export function text(x: number, y: number, content: string, more = ""): string {
  return `<text x="${x}" y="${y}" ${more}>${quoted(content)}</text>`;
}
