// Sharing rules as a person changes them: a rule of a scope that has one already changes that one, so it begins from it.
import type { Action } from "./gen/vidhub/v1/grant_service_pb";
import type { Share } from "./gen/vidhub/v1/hub_service_pb";
import { actionWord, purposeWord, SERVED_ACTIONS } from "./grantwords";
import { i18n } from "./i18n";

export interface Lists {
  regionPrefixes: string[];
  industries: string[];
  unitIds: string[];
  cameraIds: string[];
}

/** What a rule permits and takes along. */
export interface Terms {
  actions: Action[];
  purposes: string[];
  fields: string[];
}

export const SCOPE_LISTS = [
  { name: "regionPrefixes", label: "grants.regionField" },
  { name: "industries", label: "grants.industryField" },
  { name: "unitIds", label: "grants.unitField" },
  { name: "cameraIds", label: "grants.cameraField" },
] as const;

/** Parts of the record that go along where a rule says so, by the word for each. */
export const FIELD_GROUPS: Record<string, string> = {
  legal: "network.share.legal",
  device: "network.share.device",
  "location.address": "network.share.place",
};

/** What hubs serve each other; to know of a camera goes with all of it. */
export const SHARED_ACTIONS = SERVED_ACTIONS;

function isSame(one: readonly string[] = [], other: readonly string[] = []): boolean {
  return one.length === other.length && one.every((entry) => other.includes(entry));
}

/** The rule of this very scope, in whatever order its lists were typed. */
export function ruleOf(rules: readonly Share[], all: boolean, lists: Lists): Share | undefined {
  return rules.find((rule) => {
    if (all || rule.all) return all && rule.all;
    return SCOPE_LISTS.every(({ name }) => isSame(rule.scope?.[name], lists[name]));
  });
}

export function termsOf(rule: Share): Terms {
  return { actions: [...rule.actions], purposes: [...rule.purposes], fields: [...rule.fields] };
}

function words({ actions, purposes, fields }: Terms): string[] {
  const { t } = i18n.global;
  return [...actions.map(actionWord), ...purposes.map(purposeWord), ...fields.map((one) => t(FIELD_GROUPS[one] ?? one))];
}

/** What the rule would have in more and in less than it has, in words. */
export function changesOf(rule: Share, wanted: Terms): { more: string[]; less: string[] } {
  const [had, has] = [words(termsOf(rule)), words(wanted)];
  return { more: has.filter((word) => !had.includes(word)), less: had.filter((word) => !has.includes(word)) };
}
