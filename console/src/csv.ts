// Comma-separated values (RFC 4180), in and out.

/** A spreadsheet takes a cell that begins so for a formula. */
const FORMULA = /^[=+\-@\t\r]/;

function cell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Rows as a file that spreadsheets read as UTF-8; what would be a formula becomes text. */
export function csvOf(rows: string[][]): string {
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Of a table of text, whatever file it came from. */
export interface Row {
  /** Where it begins, as an editor or a spreadsheet counts. */
  line: number;
  cells: string[];
  /** Columns of numbers that a spreadsheet has rounded. */
  rounded?: number[];
}

export class CsvError extends Error {
  constructor(readonly line: number) {
    super(`line ${line}: a quote is not closed, or stands in the middle of a cell`);
  }
}

/** The rows that hold anything. Throws CsvError where quotes do not fit. */
export function* rowsOf(text: string): Generator<Row> {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  let line = 1;
  while (at < text.length) {
    const row: Row = { line, cells: [] };
    for (;;) {
      let value = "";
      if (text[at] === '"') {
        const begun = line;
        for (at += 1; ; at += 1) {
          if (at >= text.length) throw new CsvError(begun);
          if (text[at] === '"') {
            if (text[at + 1] !== '"') break;
            at += 1;
          }
          if (text[at] === "\n") line += 1;
          value += text[at];
        }
        at += 1;
        if (at < text.length && !",\r\n".includes(text[at]!)) throw new CsvError(line);
      } else {
        const end = nextOf(text, at);
        value = text.slice(at, end);
        if (value.includes('"')) throw new CsvError(line);
        at = end;
      }
      row.cells.push(value);
      if (text[at] !== ",") break;
      at += 1;
    }
    if (text[at] === "\r") at += 1;
    if (text[at] === "\n") at += 1;
    line += 1;
    if (row.cells.some((one) => one.trim())) yield row;
  }
}

function nextOf(text: string, from: number): number {
  let at = from;
  while (at < text.length && !",\r\n".includes(text[at]!)) at += 1;
  return at;
}

/** Hands a file to the browser's downloads. */
export function download(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  // The download has begun; the copy of it may go.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function downloadCsv(name: string, rows: string[][]): void {
  download(name, csvOf(rows), "text/csv;charset=utf-8");
}
