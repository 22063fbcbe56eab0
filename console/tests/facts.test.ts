import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { createApp } from "vue";

import { CameraSchema } from "../src/gen/vidhub/v1/camera_pb";
import { GetStatusResponseSchema } from "../src/gen/vidhub/v1/system_service_pb";
import { hub } from "../src/hub";
import { i18n } from "../src/i18n";
import CameraFacts from "../src/parts/CameraFacts.vue";

function shown(homeHubId: string): string {
  const box = document.createElement("div");
  const camera = create(CameraSchema, { id: "36060300111322000001", name: "东校门", homeHubId });
  createApp(CameraFacts, { camera }).use(i18n).mount(box);
  return box.textContent ?? "";
}

test("what another hub does not share of its camera's record is not called missing", () => {
  hub.value = create(GetStatusResponseSchema, { hubId: "yingtan" });
  expect(shown("yingtan")).toContain("缺：");
  const far = shown("yujiang");
  expect(far).not.toContain("缺：");
  expect(far).toContain("由所属平台 yujiang 管理");
});
