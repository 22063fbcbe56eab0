import { beforeEach, expect, test } from "vitest";

import { addressOf, arrive, closeCamera, depart, go, here, openCamera, page, query, setQuery, useSearch } from "../src/address";

const CAMERA = "36060200111322000001";

/** As when somebody types an address, or comes back to one. */
function visit(url: string, state: object | null = null): void {
  history.replaceState(state, "", url);
  dispatchEvent(new PopStateEvent("popstate"));
}

beforeEach(() => {
  localStorage.clear();
  depart(true);
  visit("/");
});

test("a page has its address, and a role its first page", () => {
  arrive("anna", "people");
  expect([location.pathname, page.value]).toEqual(["/people", "people"]);
  go("grants");
  expect([location.pathname, page.value]).toEqual(["/grants", "grants"]);
  visit("/no/such");
  expect([here.page, page.value]).toEqual(["no/such", undefined]);
});

test("the address that was wanted is there after the login", () => {
  visit("/audit?result=refused");
  arrive("anna", "people");
  expect([page.value, query("result")]).toEqual(["audit", "refused"]);
});

test("a wall's address leads to the wall", () => {
  visit(`/?wall=4:${CAMERA}`);
  arrive("anna", "people");
  expect(location.pathname + location.search).toBe(`/live?wall=4:${CAMERA}`);
});

test("a camera's page lies over another and leaves its address alone", () => {
  arrive("anna", "live");
  go("map");
  openCamera(CAMERA);
  setQuery({ q: "dm" });
  expect([location.pathname, location.search, here.camera, page.value]).toEqual([`/cameras/${CAMERA}`, "", CAMERA, "map"]);
});

test("a camera's page that was opened by its address is closed to the person's first page", () => {
  visit(`/cameras/${CAMERA}`);
  arrive("anna", "live");
  expect([here.camera, page.value]).toEqual([CAMERA, "live"]);
  closeCamera();
  expect([here.camera, location.pathname]).toEqual([undefined, "/live"]);
});

test("the next who logs in is led to nothing of the last, not by going back either", () => {
  arrive("anna", "people");
  go("audit");
  setQuery({ principal: "user/wang" });
  const left = history.state as object;
  depart(true);
  expect(location.pathname + location.search).toBe("/");
  arrive("ben", "live");
  visit("/audit?principal=user/wang", left);
  expect([location.pathname, location.search]).toEqual(["/audit", ""]);
});

test("whose login was ended finds the page again, without what was searched", () => {
  arrive("anna", "people");
  go("audit");
  setQuery({ principal: "user/wang" });
  depart(false);
  expect(location.pathname + location.search).toBe("/audit");
  const left = history.state as object;
  arrive("anna", "people");
  expect(page.value).toBe("audit");
  visit("/audit", left);
  depart(false);
  arrive("ben", "live");
  expect(page.value).toBe("live");
});

test("a search is read from the address and written there where it differs from the usual", () => {
  visit("/events?severity=3&open=true&kind=camera.offline&severityy=9");
  const { search, keep } = useSearch(() => ({ severity: 1, open: false as boolean, waiting: true as boolean, kind: "" }));
  expect(search.value).toEqual({ severity: 3, open: true, waiting: true, kind: "camera.offline" });
  search.value = { severity: 1, open: false, waiting: false, kind: "" };
  keep();
  expect(location.search).toBe("?severityy=9&waiting=false");
  visit("/events?severity=many");
  expect(useSearch(() => ({ severity: 1 })).search.value).toEqual({ severity: 1 });
});

test("an address names its language where it is not Chinese", async () => {
  const { setLanguage } = await import("../src/i18n");
  expect(addressOf("map")).toBe("/map");
  setLanguage("en");
  expect(addressOf("map")).toBe("/map?lang=en");
  setLanguage("zh-CN");
});
