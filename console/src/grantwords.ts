// Grants in words: for whom, of what, when; and what people type into lists.
import { timestampMs } from "@bufbuild/protobuf/wkt";

import { wordOf } from "./enums";
import { Action, ActionSchema, type Grant, type Scope, type WeeklyHours } from "./gen/vidhub/v1/grant_service_pb";
import { hub, purposeName } from "./hub";
import { i18n } from "./i18n";
import { industryName } from "./recordwords";
import { moment } from "./times";

const { t } = i18n.global;
/** Cameras that a line names; of more it says how many. */
const NAMED = 3;

/** What this version does; to grant the others is refused (ACTION_NOT_SERVED). */
export const SERVED_ACTIONS = [Action.LIST, Action.VIEW_LIVE, Action.SNAPSHOT];

export function actionWord(action: number): string {
  return t(`action.${wordOf(ActionSchema, action)}`);
}

export function purposeWord(kind: string): string {
  return purposeName(kind, i18n.global.locale.value);
}

export function subjectOf(grant: Grant): string {
  return grant.username || `${t("grants.department")} ${grant.department}`;
}

/** Each list of a scope in words; together they narrow each other. */
export function scopeWords(scope: Scope | undefined): string[] {
  if (!scope) return [];
  const some = (list: string[]) => list.slice(0, NAMED).join(", ") + (list.length > NAMED ? "…" : "");
  const words: string[] = [];
  if (scope.regionPrefixes.length) words.push(t("grants.regions", { list: scope.regionPrefixes.join(", ") }));
  if (scope.industries.length) words.push(t("grants.industries", { list: scope.industries.map(industryName).join(", ") }));
  if (scope.unitIds.length) words.push(t("grants.units", { list: some(scope.unitIds) }));
  if (scope.cameraIds.length) {
    words.push(t("grants.cameras", { count: scope.cameraIds.length, list: some(scope.cameraIds) }));
  }
  return words;
}

export function timeOfDay(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
}

export function minutesOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(":").map(Number);
  return hours * 60 + minutes;
}

export function hoursWords(hours: WeeklyHours): string {
  const days = [...hours.days].sort((one, other) => one - other).map((day) => t(`grants.day.${day}`));
  return t("grants.hours", { days: days.join(" "), from: timeOfDay(hours.startMinute), to: timeOfDay(hours.endMinute) });
}

export function windowWords(grant: Grant): string[] {
  const words: string[] = [];
  if (grant.notBefore && timestampMs(grant.notBefore) > Date.now()) words.push(t("grants.from", { time: moment(grant.notBefore) }));
  if (grant.notAfter) words.push(t("grants.until", { time: moment(grant.notAfter) }));
  return [...words, ...grant.weeklyHours.map(hoursWords)];
}

export function hasEnded(grant: Grant, now = Date.now()): boolean {
  return Boolean(grant.revokeTime) || (grant.notAfter !== undefined && timestampMs(grant.notAfter) <= now);
}

/** What was typed or pasted: one entry a line, or commas between. */
export function listOf(text: string): string[] {
  return [...new Set(text.split(/[\s,，、;；]+/).filter(Boolean))];
}

/** "+08:00", as weekly hours are told in. */
export function hubOffset(): string {
  const minutes = Math.round((hub.value?.utcOffsetS ?? 0) / 60);
  return `${minutes < 0 ? "-" : "+"}${timeOfDay(Math.abs(minutes))}`;
}
