import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { Action } from "../src/gen/vidhub/v1/grant_service_pb";
import { ShareSchema } from "../src/gen/vidhub/v1/hub_service_pb";
import { changesOf, ruleOf, termsOf } from "../src/sharing";

const NONE = { regionPrefixes: [], industries: [], unitIds: [], cameraIds: [] };
const rules = [
  create(ShareSchema, { id: "whole", all: true }),
  create(ShareSchema, { id: "two", scope: { regionPrefixes: ["3606", "3601"] }, actions: [Action.LIST], purposes: ["patrol"], fields: ["device"] }),
  create(ShareSchema, { id: "schools", scope: { regionPrefixes: ["3606"], industries: ["11"] } }),
];

test("the rule of a scope is found in whatever order its lists are typed, and no other", () => {
  expect(ruleOf(rules, true, NONE)?.id).toBe("whole");
  expect(ruleOf(rules, false, { ...NONE, regionPrefixes: ["3601", "3606"] })?.id).toBe("two");
  expect(ruleOf(rules, false, { ...NONE, regionPrefixes: ["3606"], industries: ["11"] })?.id).toBe("schools");
  expect(ruleOf(rules, false, { ...NONE, regionPrefixes: ["3606"] })).toBeUndefined();
  expect(ruleOf(rules, false, NONE)).toBeUndefined();
});

test("what a rule would gain and lose is told, and what it has stays where nothing is chosen", () => {
  const rule = rules[1]!;
  expect(termsOf(rule)).toEqual({ actions: [Action.LIST], purposes: ["patrol"], fields: ["device"] });
  expect(changesOf(rule, termsOf(rule))).toEqual({ more: [], less: [] });
  expect(changesOf(rule, { actions: [Action.LIST, Action.VIEW_LIVE], purposes: ["patrol"], fields: ["legal"] })).toEqual({
    more: ["实时视频", "依法登记信息"],
    less: ["设备信息"],
  });
});
