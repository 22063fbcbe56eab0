import { create } from "@bufbuild/protobuf";
import { expect, test, vi } from "vitest";

import { datumOf, offLayer, onLayer, type Position } from "../src/datum";
import { CameraState } from "../src/gen/vidhub/v1/camera_pb";
import { ListPointsResponseSchema } from "../src/gen/vidhub/v1/camera_service_pb";

const listPoints = vi.hoisted(() => vi.fn());
vi.mock("../src/api", () => ({ call: (work: () => Promise<unknown>) => work(), cameras: { listPoints } }));
const { boxOf, countsOf, features, rankOf, readPoints, RANKS, within } = await import("../src/points");

test("a layer in GCJ-02 moves places by half a kilometre, and back to the centimetre", () => {
  const place: Position = [117.03, 28.24];
  expect(onLayer(place, "WGS-84")).toEqual(place);
  const [east, north] = onLayer(place, "GCJ-02");
  // As the npm packages coordtransform 2.1 and gcoord 1.0 have it.
  expect(east).toBeCloseTo(117.03516126504951, 9);
  expect(north).toBeCloseTo(28.23678469410266, 9);
  const back = offLayer([east, north], "GCJ-02");
  expect(Math.abs(back[0] - place[0]) + Math.abs(back[1] - place[1])).toBeLessThan(1e-7);
  expect(onLayer([2.35, 48.86], "GCJ-02")).toEqual([2.35, 48.86]);
  expect(["GCJ-02 of AMap", "CGCS2000 (WGS-84)", ""].map(datumOf)).toEqual(["GCJ-02", "WGS-84", "WGS-84"]);
});

test("pages of points become arrays, with the worst that a camera is", async () => {
  const page = (ids: string[], nextPageToken: string) =>
    create(ListPointsResponseSchema, {
      ids,
      latitudesE6: ids.map((_, place) => 28_240_000 + place * 10_000),
      longitudesE6: ids.map(() => 117_030_000),
      states: ids.map(() => CameraState.ONLINE),
      stale: [0],
      nextPageToken,
      totalSize: 3n,
    });
  listPoints.mockResolvedValueOnce(page(["1", "2"], "more")).mockResolvedValueOnce(page(["3"], ""));
  const begun: number[] = [];
  const points = await readPoints("WGS-84", new AbortController().signal, ({ ids }) => begun.push(ids.length));
  expect(begun).toEqual([2]);
  expect(listPoints.mock.calls.map(([asked]) => asked.pageToken)).toEqual(["", "more"]);
  expect([points.ids, points.ranks.map((rank) => RANKS[rank]), points.total]).toEqual([
    ["1", "2", "3"],
    ["stale", "online", "stale"],
    3,
  ]);
  expect(countsOf(points)).toMatchObject({ online: 1, stale: 2, offline: 0 });
  expect(within(points, boxOf([118, 28.3], [117, 28.245]))).toEqual([1]);
  expect(features(points).features[1]).toMatchObject({ properties: { place: 1, rank: 0 } });
  expect(rankOf(CameraState.OFFLINE, false)).toBe(RANKS.length - 1);
});
