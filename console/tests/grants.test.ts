import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";

import { Role } from "../src/gen/vidhub/v1/auth_service_pb";
import { GrantSchema, ScopeSchema, WeeklyHoursSchema } from "../src/gen/vidhub/v1/grant_service_pb";
import { hasEnded, hoursWords, listOf, minutesOf, scopeWords, timeOfDay } from "../src/grantwords";
import { excludedBy, losesVideo } from "../src/roles";

test("lists are taken as they are pasted", () => {
  expect(listOf(" 3606, 360602\n11，12、13;3606 ")).toEqual(["3606", "360602", "11", "12", "13"]);
  expect(listOf("  ")).toEqual([]);
});

test("a scope is told list by list, long ones by number", () => {
  const scope = create(ScopeSchema, { regionPrefixes: ["3606"], cameraIds: ["1", "2", "3", "4"] });
  expect(scopeWords(scope)).toEqual(["区划 3606", "4 台摄像机：1, 2, 3…"]);
  expect(scopeWords(undefined)).toEqual([]);
});

test("hours of the week are told as a clock shows them", () => {
  expect([minutesOf("08:30"), timeOfDay(510), timeOfDay(1440)]).toEqual([510, "08:30", "24:00"]);
  const hours = create(WeeklyHoursSchema, { days: [5, 1], startMinute: 480, endMinute: 1080 });
  expect(hoursWords(hours)).toBe("每周一 五 08:00–18:00");
});

test("a grant ends by its time, or when it is taken back", () => {
  const at = (ms: number) => timestampFromMs(ms);
  expect(hasEnded(create(GrantSchema, { notAfter: at(10) }), 9)).toBe(false);
  expect(hasEnded(create(GrantSchema, { notAfter: at(10) }), 10)).toBe(true);
  expect(hasEnded(create(GrantSchema, { notAfter: at(10), revokeTime: at(5) }), 6)).toBe(true);
});

test("roles that one account can't hold keep each other out", () => {
  expect(excludedBy(Role.ADMINISTRATOR, [Role.OPERATOR])).toBe(Role.OPERATOR);
  expect(excludedBy(Role.OPERATOR, [Role.ADMINISTRATOR])).toBe(Role.ADMINISTRATOR);
  expect(excludedBy(Role.AUDITOR, [Role.SUPERVISOR, Role.APPROVER])).toBe(Role.APPROVER);
  expect(excludedBy(Role.OPERATOR, [Role.UNIT])).toBeUndefined();
  expect([losesVideo([Role.OPERATOR, Role.UNIT]), losesVideo([Role.OPERATOR, Role.APPROVER])]).toEqual([false, true]);
});
