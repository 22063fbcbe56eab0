import { expect, test } from "vitest";

import { i18n, stateSentence } from "../src/i18n";

const { "zh-CN": zh, en } = i18n.global.messages.value;

function keys(tree: object, prefix = ""): string[] {
  return Object.entries(tree).flatMap(([key, value]) =>
    typeof value === "string" ? [`${prefix}${key}`] : keys(value as object, `${prefix}${key}.`),
  );
}

function holes(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!).sort();
}

function at(tree: object, key: string): string {
  return key.split(".").reduce<unknown>((node, part) => (node as Record<string, unknown>)[part], tree) as string;
}

test("both languages have the same words", () => {
  expect(keys(en).sort()).toEqual(keys(zh).sort());
});

test("every word fills the same holes in both languages", () => {
  for (const key of keys(zh)) expect(holes(at(en, key)), key).toEqual(holes(at(zh, key)));
});

test("why a camera is in its state is told in the console's language, whatever the hub's sentence", () => {
  const said = "the camera has no stream under the registered path: check the URL";
  i18n.global.locale.value = "zh-CN";
  expect(stateSentence("invalid", said)).toBe(zh.stateWhy.invalid);
  expect(stateSentence("quarantined", said)).toBe(said);
  expect(stateSentence("offline", "CAMERA_SILENT")).toBe(zh.reason.CAMERA_SILENT);
  i18n.global.locale.value = "en";
  expect(stateSentence("invalid", said)).toBe(en.stateWhy.invalid);
  i18n.global.locale.value = "zh-CN";
});
