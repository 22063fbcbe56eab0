import { expect, test } from "vitest";

import { readViolations } from "../src/api";
import { timeWritten } from "../src/times";
import { i18n } from "../src/i18n";
import { speakOfFields } from "../src/validity";

test("a time is taken as the console writes it, and no day that does not exist", () => {
  expect(timeWritten("2026-01-31 08:05:09")).toEqual(new Date(2026, 0, 31, 8, 5, 9));
  expect(timeWritten("2026-01-31T08:05")).toEqual(new Date(2026, 0, 31, 8, 5));
  expect(timeWritten(" 2026-01-31 ")).toEqual(new Date(2026, 0, 31));
  for (const wrong of ["", "2026-02-30", "2026-13-01", "31.1.2026", "2026-01-31 24:00", "2026-01-31 08:60", "2026-1-31"]) {
    expect(timeWritten(wrong), wrong).toBeUndefined();
  }
});

test("a browser says what is wrong with a field in the console's language", () => {
  speakOfFields();
  document.body.innerHTML = `<form><input id="a" required><input id="b" pattern="[0-9]{20}" value="12"><button type="submit">x</button></form>`;
  const said = (id: string): string => {
    const field = document.getElementById(id) as HTMLInputElement;
    field.checkValidity();
    return field.validationMessage;
  };
  expect([said("a"), said("b")]).toEqual(["请填写此项。", "请填写 20 位数字。"]);
  i18n.global.locale.value = "en";
  expect([said("a"), said("b")]).toEqual(["Fill this in.", "Write 20 digits."]);
  i18n.global.locale.value = "zh-CN";
  // Filled in by the page, not by hand: the next try judges anew.
  (document.getElementById("a") as HTMLInputElement).value = "1";
  document.querySelector("button")!.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  expect((document.getElementById("a") as HTMLInputElement).validity.customError).toBe(false);
});

test("rules that fields break are read from google.rpc.BadRequest, however long", () => {
  const text = (field: number, words: string): number[] => {
    const bytes = [...new TextEncoder().encode(words)];
    const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
    return [(field << 3) | 2, ...length, ...bytes];
  };
  const long = "x".repeat(300);
  const row = [...text(1, "grant.scope"), ...text(2, long), ...text(3, "SCOPE_EMPTY")];
  const message = new Uint8Array([0x0a, (row.length & 127) | 128, row.length >> 7, ...row]);
  expect(readViolations(message)).toEqual([{ field: "grant.scope", description: long, reason: "SCOPE_EMPTY" }]);
  expect(readViolations(message.slice(0, 40))).toEqual([]);
});
