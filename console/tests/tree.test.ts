import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { CameraSchema, CameraState, type Camera } from "../src/gen/vidhub/v1/camera_pb";
import { buildTree, stateWord } from "../src/tree";

function camera(id: string, unitId: string, regionCode: string, state: CameraState, stale = false): Camera {
  return create(CameraSchema, { id, name: `camera ${id}`, unitId, unitName: `unit ${unitId}`, regionCode, state, stale });
}

test("cameras stand under their unit, units under their region, with counts of who is online", () => {
  const nodes = buildTree([
    camera("3", "b", "360603", CameraState.OFFLINE),
    camera("2", "a", "360602", CameraState.ONLINE),
    camera("1", "a", "360602", CameraState.REFUSED),
  ]);
  expect(nodes.map((node) => [node.key, node.online, node.total])).toEqual([
    ["region/360602", 1, 2],
    ["region/360603", 0, 1],
  ]);
  expect(nodes[0]!.children![0]!.label).toBe("unit a");
  expect(nodes[0]!.children![0]!.children!.map((node) => node.key)).toEqual(["1", "2"]);
});

test("a stale camera counts as online no more", () => {
  const stale = camera("1", "a", "360602", CameraState.ONLINE, true);
  expect(stateWord(stale)).toBe("stale");
  expect(buildTree([stale])[0]!.online).toBe(0);
});

test("a unit that has no name is shown by its id", () => {
  const nameless = create(CameraSchema, { id: "1", unitId: "u7", regionCode: "360602" });
  expect(buildTree([nameless])[0]!.children![0]!.label).toBe("u7");
});
