import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { CameraSchema, CameraState, type Camera } from "../src/gen/vidhub/v1/camera_pb";
import { CameraCountSchema } from "../src/gen/vidhub/v1/camera_service_pb";
import { branchKey, buildTree, countedTree, openRows, partsOf, stateWord, step, type Branch } from "../src/tree";

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

const two = buildTree([
  camera("1", "a", "360602", CameraState.ONLINE),
  camera("2", "a", "360602", CameraState.ONLINE),
  camera("3", "b", "360603", CameraState.ONLINE),
]);

test("only what stands open has rows, each with its place among its sisters", () => {
  expect(openRows(two, () => false).map((row) => [row.node.key, row.level, row.position, row.size, row.isOpen])).toEqual([
    ["region/360602", 1, 1, 2, false],
    ["region/360603", 1, 2, 2, false],
  ]);
  const rows = openRows(two, () => true);
  expect(rows.map((row) => row.level)).toEqual([1, 2, 3, 3, 1, 2, 3]);
  expect([rows[3]!.position, rows[3]!.size, rows[3]!.isOpen]).toEqual([2, 2, undefined]);
});

test("keys lead through the tree as the ARIA pattern says", () => {
  const rows = openRows(two, (key) => key !== "region/360603");
  const last = rows.length - 1;
  expect(step(rows, -1, "ArrowDown", 5)).toEqual({ focus: 0 });
  expect(step(rows, 0, "ArrowUp", 5)).toEqual({ focus: 0 });
  expect(step(rows, last, "ArrowDown", 5)).toEqual({ focus: last });
  expect(step(rows, 0, "PageDown", 2)).toEqual({ focus: 2 });
  expect(step(rows, last, "Home", 5)).toEqual({ focus: 0 });
  expect(step(rows, 0, "End", 5)).toEqual({ focus: last });
  expect(step(rows, 0, "ArrowRight", 5)).toEqual({ focus: 1 });
  expect(step(rows, last, "ArrowRight", 5)).toEqual({ toggle: "region/360603" });
  expect(step(rows, 2, "ArrowRight", 5)).toBeUndefined();
  expect(step(rows, 3, "ArrowLeft", 5)).toEqual({ focus: 1 });
  expect(step(rows, 1, "ArrowLeft", 5)).toEqual({ toggle: rows[1]!.node.key });
  expect(step(rows, last, "ArrowLeft", 5)).toBeUndefined();
  expect(step([], -1, "ArrowDown", 5)).toBeUndefined();
  expect(step(rows, 0, "x", 5)).toBeUndefined();
});

test("of many cameras the hub counts the branches, and only what was read has leaves", () => {
  const count = (key: string, name: string, cameras: number, online: number) =>
    create(CameraCountSchema, {
      key,
      name,
      cameras: BigInt(cameras),
      states: [{ state: CameraState.ONLINE, cameras: BigInt(online) }],
    });
  const key = branchKey("360602", "u/1");
  const branch: Branch = { region: "360602", unit: "u/1", ids: ["1", "2"], next: "token", isBusy: false, isBegun: true };
  const nodes = countedTree(
    [count("360602", "月湖区", 1500, 900), count("360603", "", 7, 0)],
    new Map([["360602", [count("u2", "一中", 200, 100), count("u/1", "车站", 1300, 800)]]]),
    new Map([[key, branch]]),
    (id) => (id === "1" ? camera("1", "u/1", "360602", CameraState.ONLINE) : undefined),
  );
  expect(nodes.map((node) => [node.label, node.online, node.total, node.children!.length])).toEqual([
    ["月湖区", 900, 1500, 2],
    ["360603", 0, 7, 0],
  ]);
  const rows = openRows(nodes, () => true);
  const rest = rows.find((row) => row.node.rest);
  expect(rows.find((row) => row.node.camera)!.node.key).toBe("1");
  expect([rest!.node.rest, rest!.isOpen]).toEqual([branch, undefined]);
  expect(partsOf(key)).toEqual({ region: "360602", unit: "u/1" });
  expect(partsOf("region/360602")).toEqual({ region: "360602", unit: "" });
});
