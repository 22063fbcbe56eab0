// Events in words.
import { i18n, sentenceOf } from "./i18n";
import type { Event } from "./gen/vidhub/v1/event_service_pb";

/** What happened. */
export function titleOf(event: Event): string {
  const { t, te } = i18n.global;
  const key = `events.kind.${event.kind.replace(".", "_")}`;
  return te(key) ? t(key) : event.kind;
}

/** To whom or what, how often, and from where. */
export function aboutOf(event: Event): string {
  const { t } = i18n.global;
  const name = event.subjectName || placeOf(event.subject);
  const count = Number(event.count);
  const many = event.kind.startsWith("camera.") ? t("events.cameras", { count }) : t("events.times", { count });
  const from = event.hubId ? t("events.from", { hub: event.hubId }) : "";
  return [name, count > 1 ? many : "", from].filter(Boolean).join(" · ");
}

/** Why, where there is a reason. */
export function whyOf(event: Event): string {
  return event.reason ? sentenceOf(event.reason, event.reason) : "";
}

function placeOf(subject: string): string {
  return subject === "hub/own" || subject === "disk" || subject === "store" ? "" : subject.slice(subject.indexOf("/") + 1);
}
