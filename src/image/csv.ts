/** A field as RFC 4180 has it: in quotes where it holds a comma, a quote or a line's end. */
const field = (value: string | number): string => {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** A line of a CSV file (RFC 4180), with its end. */
export const csvLine = (fields: readonly (string | number)[]): string => `${fields.map(field).join(",")}\r\n`;
