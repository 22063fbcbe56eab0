// Words of the console: Chinese first, English by switch. A test holds the two key sets equal.
import { createI18n } from "vue-i18n";

import en from "./words/en";
import * as office from "./words/office";
import * as watch from "./words/watch";
import zh from "./words/zh";

export type Language = "zh-CN" | "en";
const KEPT = "vidhub.language";

/** As the address asks for, for as long as it does; else as the person chose in this browser. */
function first(): Language {
  if (new URLSearchParams(location.search).get("lang") === "en") return "en";
  return localStorage.getItem(KEPT) === "en" ? "en" : "zh-CN";
}

export const i18n = createI18n({
  legacy: false,
  locale: first(),
  fallbackLocale: "zh-CN",
  messages: { "zh-CN": { ...zh, ...office.zh, ...watch.zh }, en: { ...en, ...office.en, ...watch.en } },
});

export function setLanguage(language: Language): void {
  i18n.global.locale.value = language;
  localStorage.setItem(KEPT, language);
}

/** The sentence for a stable reason of the hub, or the hub's own words where we have none. `by`: another hub, if it was. */
export function sentenceOf(reason: string, fallback: string, by = ""): string {
  const { t, te } = i18n.global;
  const key = by && te(`below.${reason}`) ? `below.${reason}` : `reason.${reason}`;
  const said = te(key) ? t(key) : fallback || reason;
  return by ? t("refusedBy", { hub: by, said }) : said;
}

/** Why a camera is in its state, in the console's language; `said` is the hub's own word or sentence, for technicians. */
export function stateSentence(state: string, said: string): string {
  const { t, te } = i18n.global;
  return te(`reason.${said}`) || !te(`stateWhy.${state}`) ? sentenceOf(said, said) : t(`stateWhy.${state}`);
}
