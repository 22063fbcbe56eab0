// The first sheet of an Excel workbook that is not hidden, as rows of text, as one would write them in CSV. Read in a worker of its own: a
// large workbook holds up nothing, and one that is made to burst (a zip bomb) is refused before it is unpacked.
import { strFromU8, unzipSync, type Unzipped } from "fflate";
import { readSheet } from "read-excel-file/universal";

import type { Row } from "./csv";

/** What the parts of a workbook may be in all, unpacked. */
export const MOST_UNPACKED = 256 * 1024 * 1024;
/** The reader makes room for every cell from A1 to the last row and the last column that hold something. */
export const MOST_CELLS = 10_000_000;
/** More than a record has fields: where there are more, it is a column that lies far out, and else a row. */
const MOST_COLUMNS = 200;
/** A spreadsheet keeps 15 digits of a number; an id has 20. */
const EXACT = 1e15;

export type Trouble = "NOT_WORKBOOK" | "TOO_LARGE" | "FAR_CELL";

export class WorkbookError extends Error {
  constructor(
    readonly reason: Trouble,
    readonly what = "",
  ) {
    super(`${reason} ${what}`);
  }
}

/** The rows that hold anything, by their numbers in the spreadsheet. Throws WorkbookError. */
export async function tableOf(bytes: ArrayBuffer): Promise<Row[]> {
  if (unpackedSize(bytes) > MOST_UNPACKED) throw new WorkbookError("TOO_LARGE");
  let sheet;
  try {
    sheet = await readSheet(bytes, look(bytes));
  } catch (cause) {
    if (cause instanceof WorkbookError) throw cause;
    throw new WorkbookError("NOT_WORKBOOK", cause instanceof Error ? cause.message : "");
  }
  const rows: Row[] = [];
  sheet.forEach((cells, index) => {
    const row: Row = { line: index + 1, cells: cells.map(textOf) };
    const rounded = cells.flatMap((cell, column) => (isRounded(cell) ? [column] : []));
    if (rounded.length) row.rounded = rounded;
    if (row.cells.some(Boolean)) rows.push(row);
  });
  return rows;
}

/** As its own directory has it: no more than that is unpacked. */
function unpackedSize(bytes: ArrayBuffer): number {
  let size = 0;
  try {
    unzipSync(new Uint8Array(bytes), { filter: (part) => ((size += part.originalSize), false) });
  } catch (cause) {
    throw new WorkbookError("NOT_WORKBOOK", cause instanceof Error ? cause.message : "");
  }
  return size;
}

/** The number of the first sheet that is not hidden, of the first where all are. Throws WorkbookError FAR_CELL. */
function look(bytes: ArrayBuffer): number {
  // A sheet may stand anywhere: the relations of the workbook say where.
  const parts = unzipSync(new Uint8Array(bytes), { filter: ({ name }) => /\.xml$/i.test(name) });
  for (const part of Object.values(parts)) {
    const text = strFromU8(part);
    if (!/<(?:[\w.-]+:)?sheetData[\s>]/.test(text)) continue;
    const far = farCell(text);
    if (far) throw new WorkbookError("FAR_CELL", far);
  }
  return visibleSheet(parts);
}

function visibleSheet(parts: Unzipped): number {
  const list = parts["xl/workbook.xml"];
  if (!list) return 1;
  const sheets = [...strFromU8(list).matchAll(/<(?:[\w.-]+:)?sheet\s([^>]*)>/g)].map(([, attributes = ""]) => attributes);
  const isHidden = (attributes: string) => /(?:^|\s)state\s*=\s*["'](?:hidden|veryHidden)["']/.test(attributes);
  return sheets.findIndex((attributes) => !isHidden(attributes)) + 1 || 1;
}

/** Of the XML of a sheet: the cell for whose sake too many would be made, if there are too many; "" if not. */
function farCell(text: string): string {
  let cell = "";
  let [rows, lowest, columns, widest] = [0, "", 0, ""];
  // A cell without a value is one that was only coloured: it makes nothing wider.
  for (const [, name, attributes = ""] of text.matchAll(/<(?:[\w.-]+:)?(c|v|is)(?=[\s/>])([^>]*)>/g)) {
    if (name === "c") {
      cell = attributes;
      continue;
    }
    const [, letters = "", number = ""] = /(?:^|\s)r\s*=\s*["']([A-Z]{1,3})([0-9]{1,7})["']/.exec(cell) ?? [];
    const column = [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 64, 0);
    if (Number(number) > rows) [rows, lowest] = [Number(number), letters + number];
    if (column > columns) [columns, widest] = [column, letters + number];
  }
  if (rows * columns <= MOST_CELLS) return "";
  return columns > MOST_COLUMNS ? widest : lowest;
}

function isRounded(cell: unknown): boolean {
  return typeof cell === "number" && Math.abs(cell) >= EXACT;
}

function textOf(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  if (!(cell instanceof Date)) return String(cell);
  // Spreadsheets know no time zone: what was typed stands in UTC.
  const [day, time] = cell.toISOString().replace(".000Z", "").split("T");
  return time === "00:00:00" ? day! : `${day}T${time}`;
}
