import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";

import { CameraSchema, PlaceCategory, StreamProfile, Transport } from "../src/gen/vidhub/v1/camera_pb";
import { rowsOf } from "../src/csv";
import { camerasOf, FileError, template, textOf } from "../src/importing";
import { cameraOf, completeness, fieldOf, FIELDS, missingOf, pathOf, textsOf } from "../src/record";
import { fieldName, ruleSentence } from "../src/recordwords";

const csv = (text: string) => () => rowsOf(text);

const TEXTS = {
  name: "东门",
  region_code: "360602",
  industry: "11",
  place_category: "school",
  "location.latitude": "28.24",
  "location.longitude": "117.03",
  "main.url": "rtsp://192.0.2.1/1",
  "main.transport": "tcp",
  "sub.url": "rtsp://192.0.2.1/2",
  "legal.retention_days": "30",
};

test("a record is written and read back field by field", () => {
  const { camera, misfits } = cameraOf(TEXTS);
  expect(misfits).toEqual({});
  expect(camera.placeCategory).toBe(PlaceCategory.SCHOOL);
  expect(camera.location?.latitude).toBe(28.24);
  expect(camera.streams.map((one) => [one.profile, one.url, one.transport])).toEqual([
    [StreamProfile.MAIN, "rtsp://192.0.2.1/1", Transport.TCP],
    [StreamProfile.SUB, "rtsp://192.0.2.1/2", Transport.UNSPECIFIED],
  ]);
  const read = textsOf(camera);
  expect(Object.fromEntries(Object.entries(read).filter(([, text]) => text))).toEqual(TEXTS);
});

test("that something is so is said in words", () => {
  const said = (text: string) => cameraOf({ ...TEXTS, "legal.near_secret_unit": text });
  for (const text of ["yes", "TRUE", "1", "是"]) {
    expect(said(text).camera.legal?.nearSecretUnit, text).toBe(true);
    expect(textsOf(said(text).camera)["legal.near_secret_unit"]).toBe("yes");
  }
  for (const text of ["", "no", "false", "0", "否"]) expect(said(text).camera.legal?.nearSecretUnit, text).toBe(false);
  expect(said("perhaps").misfits).toEqual({ "legal.near_secret_unit": "UNKNOWN_WORD" });
});

test("what a form does not show stays as it was, and what it empties goes", () => {
  const base = cameraOf({ ...TEXTS, "device.height_m": "3.5", "device.model": "X" }).camera;
  const { camera } = cameraOf({ ...textsOf(base), "device.model": "", "sub.url": "" }, base);
  expect(camera.device?.heightM).toBe(3.5);
  expect(camera.device?.model).toBe("");
  expect(camera.streams.map((one) => one.profile)).toEqual([StreamProfile.MAIN]);
  // A camera that is pushed has a main stream without an address.
  expect(cameraOf({ name: "推流" }).camera.streams.map((one) => one.profile)).toEqual([StreamProfile.MAIN]);
});

test("texts that do not fit are told by their path", () => {
  const { misfits } = cameraOf({ "legal.retention_days": "2.5", place_category: "zoo", "location.latitude": "north" });
  expect(misfits).toEqual({ "legal.retention_days": "NO_NUMBER", place_category: "UNKNOWN_WORD", "location.latitude": "NO_NUMBER" });
});

test("a path names a field of a camera that is not the hub's to say, or nothing", () => {
  for (const { path } of FIELDS) expect(fieldOf(path), path).toBeDefined();
  for (const path of ["device.height_m", "unit_id"]) expect(fieldOf(path), path).toBeDefined();
  for (const path of ["", "state", "streams", "main.profile", "main", "location", "a.b", "main.url.x", "warnings", "name.x"]) {
    expect(fieldOf(path), path).toBeUndefined();
  }
  for (const { path } of FIELDS) expect(fieldName(path), path).not.toBe(path);
  expect(ruleSentence("URL_SCHEME", "")).toContain("rtsp://");
  expect(ruleSentence("OF_TOMORROW", "do that")).toBe("do that");
});

test("the hub's names of fields lead to ours", () => {
  const { camera } = cameraOf({ ...TEXTS, "sub.url": "x" });
  expect(["streams[0].url", "camera.streams[1].username", "camera.name", "legal.scope"].map((one) => pathOf(one, camera))).toEqual([
    "main.url",
    "sub.username",
    "name",
    "legal.scope",
  ]);
});

test("a record is complete when nothing that is required or asked for lacks", () => {
  const { of, filled } = completeness(create(CameraSchema));
  expect([filled, missingOf(cameraOf(TEXTS).camera).includes("legal.scope")]).toEqual([0, true]);
  const all = Object.fromEntries(FIELDS.map(({ path }) => [path, "1"]));
  const { camera } = cameraOf({ ...all, ...TEXTS, "sub.transport": "", "main.transport": "" });
  expect(completeness(camera)).toEqual({ filled: of, of });
  camera.device!.model = " \u3000";
  expect(missingOf(camera)).toEqual(["device.model"]);
});

test("a file gives cameras with their lines, and what is wrong in them", () => {
  const rows = [...camerasOf(csv("name,main.url,legal.retention_days\r\n东门,rtsp://a/1,30\n\n西门,,x\n南门\n"))];
  expect(rows.map((row) => [row.line, row.camera.name, row.faults.map((fault) => [fault.field, fault.reason])])).toEqual([
    [2, "东门", []],
    [4, "西门", [["legal.retention_days", "NO_NUMBER"]]],
    [5, "南门", [["", "CSV_CELLS"]]],
  ]);
  const [header, example] = template("360602", "11");
  const [row] = [...camerasOf(csv(`${header!.join(",")}\n${example!.join(",")}`))];
  expect(row!.faults).toEqual([]);
});

test.each([
  ["", "EMPTY", ""],
  ["name,colour\n", "COLUMN_UNKNOWN", "colour"],
  ["name,name\n", "COLUMN_TWICE", "name"],
  ['name\n"open\n', "QUOTES", "2"],
])("of a file that can't be read it is said why: %j", (text, reason, what) => {
  try {
    expect([...camerasOf(csv(text))]).toBeUndefined();
  } catch (cause) {
    expect(cause).toBeInstanceOf(FileError);
    expect(cause).toMatchObject({ reason, what });
  }
});

test("a file of a Chinese spreadsheet is read as well", () => {
  // "东门" in GB 18030.
  expect(textOf(new Uint8Array([0xb6, 0xab, 0xc3, 0xc5]).buffer)).toBe("东门");
  expect(textOf(new TextEncoder().encode("东门").buffer as ArrayBuffer)).toBe("东门");
});
