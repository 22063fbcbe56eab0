// The first sheet of an Excel workbook as rows of text, as one would write them in CSV. Read in a worker of its own: a
// large workbook holds up nothing, and one that is made to burst (a zip bomb) is refused before it is unpacked.
import { unzipSync } from "fflate";
import { readSheet } from "read-excel-file/universal";

import type { Row } from "./csv";

/** What the parts of a workbook may be in all, unpacked. */
export const MOST_UNPACKED = 256 * 1024 * 1024;
/** A spreadsheet keeps 15 digits of a number; an id has 20. */
const EXACT = 1e15;

export type Trouble = "NOT_WORKBOOK" | "TOO_LARGE";

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
    sheet = await readSheet(bytes);
  } catch (cause) {
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
