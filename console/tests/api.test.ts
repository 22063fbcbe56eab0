import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { firstString, hubError } from "../src/api";

// google.rpc.ErrorInfo { reason: "NO_GRANT", domain: "vidhub" }
const info = new Uint8Array([0x0a, 8, ...new TextEncoder().encode("NO_GRANT"), 0x12, 6, ...new TextEncoder().encode("vidhub")]);

test("the stable reason is read from the error's details", () => {
  const error = new ConnectError("no grant", Code.PermissionDenied);
  error.details = [{ type: "google.rpc.ErrorInfo", value: info }];
  expect(hubError(error).reason).toBe("NO_GRANT");
});

test("what is no string in field 1 gives no reason", () => {
  expect(firstString(new Uint8Array([]))).toBe("");
  expect(firstString(new Uint8Array([0x08, 1]))).toBe("");
  expect(firstString(new Uint8Array([0x0a, 0xff, 0x01]))).toBe("");
});

test("a hub that can't be reached is said so", () => {
  expect(hubError(new TypeError("Failed to fetch")).reason).toBe("HUB_UNREACHABLE");
});
