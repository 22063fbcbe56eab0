import { strToU8, zipSync } from "fflate";
import { expect, test } from "vitest";

import { camerasOf } from "../src/importing";
import { MOST_CELLS, MOST_UNPACKED, tableOf, WorkbookError } from "../src/workbook";

/** The least that makes a workbook of one sheet; style 1 is a date (format 14), 2 a date with its time (22). */
function book(rows: string, padding?: Uint8Array, hidden?: string): ArrayBuffer {
  const main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
  const kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
  const parts: Record<string, Uint8Array> = {
    "xl/workbook.xml": strToU8(
      `<workbook xmlns="${main}" xmlns:r="${kinds}"><sheets>${hidden === undefined ? "" : '<sheet name="b" sheetId="2" state="veryHidden" r:id="rId3"/>'}<sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>`,
    ),
    "xl/_rels/workbook.xml.rels": strToU8(
      `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
        `<Relationship Id="rId1" Type="${kinds}/worksheet" Target="worksheets/sheet1.xml"/>` +
        `<Relationship Id="rId3" Type="${kinds}/worksheet" Target="worksheets/sheet2.xml"/>` +
        `<Relationship Id="rId2" Type="${kinds}/styles" Target="styles.xml"/></Relationships>`,
    ),
    "xl/styles.xml": strToU8(
      `<styleSheet xmlns="${main}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/>` +
        `<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>`,
    ),
    "xl/worksheets/sheet1.xml": strToU8(`<worksheet xmlns="${main}"><sheetData>${rows}</sheetData></worksheet>`),
  };
  if (hidden !== undefined) parts["xl/worksheets/sheet2.xml"] = strToU8(`<worksheet xmlns="${main}"><sheetData>${hidden}</sheetData></worksheet>`);
  if (padding) parts["xl/padding.xml"] = padding;
  return zipSync(parts).buffer as ArrayBuffer;
}

const text = (at: string, words: string): string => `<c r="${at}" t="inlineStr"><is><t>${words}</t></is></c>`;
const HEADER = `<row r="2">${["id", "name", "location.latitude", "legal.retention_days", "legal.signage_date", "device.install_time"]
  .map((word, column) => text(`${"ABCDEF"[column]}2`, word))
  .join("")}</row>`;

test("numbers and dates are read as one would write them, by the spreadsheet's lines", async () => {
  const cells = `${text("B4", "东门")}<c r="C4"><v>28.239999999999998</v></c><c r="D4"><v>30</v></c>`;
  const rows = await tableOf(book(`${HEADER}<row r="4">${cells}<c r="E4" s="1"><v>45748</v></c><c r="F4" s="2"><v>45748.5</v></c></row>`));
  expect(rows.map(({ line }) => line)).toEqual([2, 4]);
  expect(rows[1]!.cells).toEqual(["", "东门", "28.24", "30", "2025-04-01", "2025-04-01T12:00:00"]);
  const [row] = [...camerasOf(() => rows)];
  expect([row!.line, row!.camera.name, row!.camera.location!.latitude, row!.camera.legal!.retentionDays]).toEqual([4, "东门", 28.24, 30]);
});

test("a number that the spreadsheet has rounded is told by its column", async () => {
  const rows = await tableOf(book(`${HEADER}<row r="3"><c r="A3"><v>3.6060200111322E+19</v></c>${text("B3", "东门")}</row>`));
  const [row] = [...camerasOf(() => rows)];
  expect(row!.faults.map(({ field, reason }) => [field, reason])).toEqual([["id", "XLSX_NUMBER_ROUNDED"]]);
  expect(row!.camera.id).toBe("");
});

test("what is no workbook, or would burst, is refused before it is unpacked", async () => {
  const broken = new Uint8Array([0x50, 0x4b, 3, 4, ...new Uint8Array(100)]).buffer;
  await expect(tableOf(broken)).rejects.toMatchObject({ reason: "NOT_WORKBOOK" });
  await expect(tableOf(zipSync({ "a.txt": strToU8("a") }).buffer as ArrayBuffer)).rejects.toBeInstanceOf(WorkbookError);
  const bomb = book(HEADER);
  // The uncompressed size of the first part, in the archive's own directory.
  const directory = new Uint8Array(bomb).findIndex((byte, at, all) => byte === 0x50 && all[at + 1] === 0x4b && all[at + 2] === 1 && all[at + 3] === 2);
  new DataView(bomb).setUint32(directory + 24, MOST_UNPACKED, true);
  await expect(tableOf(bomb)).rejects.toMatchObject({ reason: "TOO_LARGE" });
});

test("a cell far out is told by its place before room is made for all up to it; one that is only coloured is not", async () => {
  const stray = `<row r="3">${text("A3", "1")}${text("XFD3", " x")}</row><row r="${Math.ceil(MOST_CELLS / 16_384) + 1}">`;
  const last = Math.ceil(MOST_CELLS / 16_384) + 1;
  await expect(tableOf(book(`${HEADER}${stray}${text(`A${last}`, "2")}</row>`))).rejects.toMatchObject({ reason: "FAR_CELL", what: "XFD3" });
  await expect(tableOf(book(`${HEADER}<row r="1048576">${text("K1048576", "2")}</row>`))).rejects.toMatchObject({ what: "K1048576" });
  const coloured = `<row r="3">${text("B3", "东门")}<c r="XFD3" s="1"/></row><row r="1048576"><c r="A1048576" s="1"></c></row>`;
  const rows = await tableOf(book(`${HEADER}${coloured}`));
  expect(rows.map(({ line, cells }) => [line, cells[1]])).toEqual([[2, "name"], [3, "东门"]]);
  // Elements may have a prefix, as the reader takes them.
  const prefixed = book(`<x:row r="1"><x:c r="A1" t="inlineStr"><x:is><x:t>a</x:t></x:is></x:c></x:row><x:row r="9"><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row>`);
  await expect(tableOf(prefixed)).rejects.toMatchObject({ reason: "FAR_CELL", what: "XFD1048576" });
});

test("the first sheet that is not hidden is read, as the command line reads it", async () => {
  const hidden = `<row r="1">${text("A1", "old")}</row>`;
  expect((await tableOf(book(HEADER, undefined, hidden)))[0]!.cells[0]).toBe("id");
});
