import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { hubError, readInfo } from "../src/api";

// google.rpc.ErrorInfo { reason: "NO_GRANT", domain: "vidhub" }
const info = new Uint8Array([0x0a, 8, ...new TextEncoder().encode("NO_GRANT"), 0x12, 6, ...new TextEncoder().encode("vidhub")]);

test("the stable reason is read from the error's details", () => {
  const error = new ConnectError("no grant", Code.PermissionDenied);
  error.details = [{ type: "google.rpc.ErrorInfo", value: info }];
  expect(hubError(error).reason).toBe("NO_GRANT");
});

test("the hub that refused is read from the metadata", () => {
  const text = (words: string) => [words.length, ...new TextEncoder().encode(words)];
  const entry = [0x0a, ...text("hub"), 0x12, ...text("yuehu")];
  expect(readInfo(new Uint8Array([...info, 0x1a, entry.length, ...entry]))).toEqual({ reason: "NO_GRANT", hub: "yuehu" });
});

test("what can't be read gives no reason", () => {
  for (const bytes of [[], [0x08, 1], [0x0a, 0xff, 0x01], [0x0a, 9, 65]]) {
    expect(readInfo(new Uint8Array(bytes))).toEqual({ reason: "", hub: "" });
  }
});

test("a hub that can't be reached is said so", () => {
  expect(hubError(new TypeError("Failed to fetch")).reason).toBe("HUB_UNREACHABLE");
});
