import { create } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";

import { claimantsOf, sentencesOf, wordOfFinding } from "../src/explaining";
import { ExplainCameraResponse_FindingSchema as Schema } from "../src/gen/vidhub/v1/hub_service_pb";
import { i18n, sentenceOf } from "../src/i18n";

const NAMES: Record<string, string> = { "": "鹰潭", yingtan: "鹰潭", yuehu: "月湖", guixi: "贵溪", yujiang: "余江" };
const nameOf = (id: string): string => NAMES[id] ?? id;
const MESSAGE = "yuehu offers a camera of this id (CAMERA_ID_TAKEN)";
const finding = (fields: object) => create(Schema, { message: MESSAGE, ...fields });
const dispute = finding({ reason: "CONFLICT", cause: "CAMERA_ID_TAKEN", offeringHubId: "yuehu", holdingHubId: "guixi", likelyHubId: "yuehu" });

afterEach(() => {
  i18n.global.locale.value = "zh-CN";
});

test("whose the id is to be: those that claim it, this hub last, and none by the hub's English words", () => {
  const theirs = finding({ hubId: "guixi", visible: true, reason: "THEIRS" });
  expect(claimantsOf([dispute, theirs], "yingtan")).toEqual(["guixi", "yuehu", "yingtan"]);
  const ours = finding({ reason: "CONFLICT", cause: "CAMERA_ID_TAKEN", offeringHubId: "yuehu", holdingHubId: "yingtan" });
  expect(claimantsOf([ours], "yingtan")).toEqual(["yuehu", "yingtan"]);
  expect(claimantsOf([finding({ reason: "CONFLICT", cause: "PATH_CYCLE", offeringHubId: "yuehu" }), theirs], "yingtan")).toEqual([]);
  // The very camera, by two hubs: the way may be chosen.
  const ways = finding({ visible: true, reason: "OTHER_WAY", cause: "CAMERA_BY_OTHER_WAY", offeringHubId: "yuehu", holdingHubId: "guixi" });
  expect(claimantsOf([ways], "yingtan")).toEqual(["guixi", "yuehu", "yingtan"]);
  expect(sentencesOf(ways, nameOf)).toBe("本平台已经由“贵溪”获得这个摄像机，同一摄像机只经一条路径接受。");
  // It is disputed at the other hub, and decided there.
  expect(claimantsOf([finding({ hubId: "yuehu", reason: "CONFLICT", cause: "CAMERA_ID_TAKEN", holdingHubId: "guixi" })], "yingtan")).toEqual([]);
});

test("what is found is said in the console's language, with the hubs by their names", () => {
  expect(sentencesOf(dispute, nameOf)).toBe(
    "“月湖”提供了该编码的摄像机，本平台未接受：该编码已由“贵溪”的摄像机使用。请对方换编码重新登记，或由监督员裁定归属。按编码前几位，位于“月湖”的区域内。",
  );
  expect(sentencesOf(finding({ hubId: "yuehu", reason: "LAGGING", lag: 7n }), nameOf)).toBe("尚未告知“月湖”：对方的目录还差 7 个版本。");
  const filtered = finding({ hubId: "yuehu", visible: true, reason: "FIELD_FILTERED", missingFields: ["legal", "location.address"] });
  expect(sentencesOf(filtered, nameOf)).toContain("依法登记信息, 详细地址");
  i18n.global.locale.value = "en";
  expect(sentencesOf(finding({ hubId: "yuehu", reason: "CONFLICT", cause: "BROKEN_X" }), nameOf)).toBe(
    "月湖 has not taken it: its record breaks a rule (BROKEN_X): correct it.",
  );
});

test("every finding and every refusal of this page has a sentence of the console's", () => {
  const reasons = ["SHARED", "OTHER_WAY", "NOT_SHARED", "FIELD_FILTERED", "LAGGING", "LINK_DOWN", "CONFLICT", "NOT_PERMITTED", "CAMERA_UNKNOWN", "THEIRS", "NOT_LINKED"];
  for (const reason of reasons) {
    const one = finding({ hubId: "yuehu", reason });
    expect(sentencesOf(one, nameOf)).not.toContain(MESSAGE);
    expect(wordOfFinding(one)).not.toBe(reason);
  }
  for (const reason of ["CAMERA_IS_OURS", "CAMERA_NOT_CLAIMED", "CAMERA_NOT_DISPUTED", "HUB_NOT_JOINED", "HUB_NOT_FOUND", "LIMIT_SHARES", "REASON_MISSING"]) {
    expect(sentenceOf(reason, MESSAGE)).not.toBe(MESSAGE);
  }
});
