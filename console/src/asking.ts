// One call of a form or a button: busy while it runs, and why it was refused.
import { ref, shallowRef } from "vue";

import { call, hubError, type HubError } from "./api";

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

  return { isBusy, refusal, ask };
}
