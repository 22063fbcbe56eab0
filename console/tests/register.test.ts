import { timestampDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";

import { blank, exported, questionOf } from "../src/register";

test("a search asks from one time to another, and what is no time is refused instead of left out", async () => {
  const question = questionOf({ ...blank(), from: "2026-01-31 08:00", to: " " });
  expect(timestampDate(question.from!)).toEqual(new Date(2026, 0, 31, 8));
  expect(question.to).toBeUndefined();
  for (const wrong of ["yesterday", "2026-02-30", "2026-01-31 8:00", "2026-01-31 25:00"]) {
    for (const name of ["from", "to"]) {
      const search = { ...blank(), [name]: wrong };
      expect(() => questionOf(search)).toThrow(expect.objectContaining({ reason: "TIME_INVALID" }));
      // Nor is a file made of the wider question.
      await expect(exported(search, new AbortController().signal, () => undefined)).rejects.toMatchObject({ reason: "TIME_INVALID" });
    }
  }
});
