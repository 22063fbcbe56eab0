// One call of a form or a button: busy while it runs, and why it was refused.
import { computed, ref, shallowRef } from "vue";

import { call, hubError, type HubError } from "./api";
import { i18n, sentenceOf } from "./i18n";

export function useAsking() {
  const isBusy = ref(false);
  const refusal = shallowRef<HubError>();

  /** The answer, or undefined when it was refused. */
  async function ask<T>(work: () => Promise<T>): Promise<T | undefined> {
    isBusy.value = true;
    refusal.value = undefined;
    try {
      return await call(work);
    } catch (cause) {
      refusal.value = hubError(cause);
      return undefined;
    } finally {
      isBusy.value = false;
    }
  }

  /** Sentences by the field that they are about, as in "grant.scope.cameraIds": all rows of a list go together. */
  const faults = computed(() => {
    const found: Record<string, string[]> = {};
    for (const { field, reason, description } of refusal.value?.violations ?? []) {
      const [, path = field, index] = /^([^[]*)(?:\[(\d+)\])?/.exec(field) ?? [];
      const said = sentenceOf(reason, description);
      // Which of many it is about stands in the hub's own words.
      const [, named] = /'([^']+)'/.exec(description) ?? [];
      const which = named ?? (index && i18n.global.t("field.entry", { number: Number(index) + 1 }));
      const sentence = which ? `${said}（${which}）` : said;
      const list = (found[path] ??= []);
      if (!list.includes(sentence)) list.push(sentence);
    }
    return found;
  });

  return { isBusy, refusal, faults, ask };
}
