import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";

import { Role } from "../src/gen/vidhub/v1/auth_service_pb";
import { HubSchema, HubSide, HubState } from "../src/gen/vidhub/v1/hub_service_pb";
import { endsSoon, levels, linkWord, octets } from "../src/network";
import { daysUntil } from "../src/times";
import { homeOf, pagesOf } from "../src/pages";

const DAY_MS = 86_400_000;

function hub(fields: object) {
  return create(HubSchema, { acceptedHere: true, acceptedThere: true, ...fields });
}

test("octets are read in the unit that fits", () => {
  expect([0n, 1023n, 1536n, 5n << 20n, 3n << 40n, 5000n << 40n].map(octets)).toEqual([
    "0 B",
    "1023 B",
    "1.5 KiB",
    "5.0 MiB",
    "3.0 TiB",
    "5000.0 TiB",
  ]);
});

test("a link waits until both sides have accepted, whatever its state", () => {
  expect(linkWord(hub({ state: HubState.INVITED, acceptedHere: false }))).toBe("invited");
  expect(linkWord(hub({ state: HubState.JOINED, acceptedHere: false }))).toBe("waiting");
  expect(linkWord(hub({ state: HubState.UP, acceptedThere: false }))).toBe("waiting");
  expect(linkWord(hub({ state: HubState.UP }))).toBe("up");
  expect(linkWord(hub({ state: HubState.DOWN }))).toBe("down");
  expect(linkWord(hub({ state: HubState.DOWN, acceptedHere: false, acceptedThere: false }))).toBe("down");
});

test("uppers stand apart from lowers and invited ones, by name", () => {
  const found = levels([
    hub({ id: "b", name: "余江区", side: HubSide.LOWER }),
    hub({ id: "u", name: "江西省", side: HubSide.UPPER }),
    hub({ id: "a", name: "高新区" }),
  ]);
  expect(found.upper.map((one) => one.id)).toEqual(["u"]);
  expect(found.lower.map((one) => one.id)).toEqual(["a", "b"]);
});

test("a certificate tells of its end thirty days before", () => {
  const ending = (ms: number) => hub({ certificateExpireTime: timestampFromMs(ms) });
  expect(daysUntil(ending(2.5 * DAY_MS).certificateExpireTime, 0)).toBe(2);
  expect(daysUntil(undefined)).toBeUndefined();
  expect([29, 31].map((days) => endsSoon(ending(days * DAY_MS), 0))).toEqual([true, false]);
  expect(endsSoon(hub({}), 0)).toBe(false);
});

test("each role is offered its pages, and begins with its own", () => {
  expect(pagesOf([Role.OPERATOR])).toContain("grants");
  expect(pagesOf([Role.OPERATOR])).not.toContain("people");
  expect(pagesOf([Role.UNIT])).toContain("unit");
  for (const role of [Role.OPERATOR, Role.UNIT, Role.APPROVER, Role.AUDITOR]) expect(pagesOf([role])).not.toContain("network");
  for (const role of [Role.SUPERVISOR, Role.ADMINISTRATOR]) expect(pagesOf([role])).toContain("network");
  expect(pagesOf([])).not.toContain("network");
  for (const role of [Role.OPERATOR, Role.UNIT, Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR]) {
    expect(pagesOf([role])).toContain(homeOf([role]));
  }
});
