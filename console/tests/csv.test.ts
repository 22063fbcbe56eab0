import { expect, test } from "vitest";

import { CsvError, csvOf, rowsOf } from "../src/csv";

test("what is written is read back, with its lines", () => {
  const rows = [
    ["name", "note"],
    ["东门", 'he said "so", twice'],
    ["two\nlines", ""],
    ["last", "x"],
  ];
  const read = [...rowsOf(csvOf(rows))];
  expect(read.map((row) => row.cells)).toEqual(rows);
  expect(read.map((row) => row.line)).toEqual([1, 2, 3, 5]);
});

test("rows of blanks are passed over, the last needs no line end", () => {
  expect([...rowsOf("a,b\n,\n\r\n c ,d")].map(({ line, cells }) => [line, ...cells])).toEqual([
    [1, "a", "b"],
    [4, " c ", "d"],
  ]);
});

test("a quote that does not fit is told by its line", () => {
  for (const [text, line] of [['a\n"open,\n', 2], ['a\n"b"c', 2], ['a\nb"c"', 2]] as const) {
    const read = () => [...rowsOf(text)];
    expect(read).toThrow(CsvError);
    expect(read).toThrow(`line ${line}:`);
  }
});

test("a spreadsheet takes no cell for a formula", () => {
  expect(csvOf([["=1+1", "-2", "@x", "+3", "fine"]])).toBe("\ufeff'=1+1,'-2,'@x,'+3,fine\r\n");
});
