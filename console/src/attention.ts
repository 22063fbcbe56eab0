// Whether anybody looks: what nobody sees for a while is let go, on record and off the network, and taken up again.
import { onBeforeUnmount, onMounted, ref, watch, type Ref } from "vue";

/** Milliseconds out of sight after which a picture is let go. */
export const LET_GO_AFTER = 60_000;

/** True from the start until the page or the element was out of sight for a minute; true again as soon as it is seen. */
export function useAttention(isInSight: () => boolean): Ref<boolean> {
  const isHeld = ref(true);
  const isPageSeen = ref(!document.hidden);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onVisibility = (): void => void (isPageSeen.value = !document.hidden);
  watch(
    () => isPageSeen.value && isInSight(),
    (isSeen) => {
      clearTimeout(timer);
      if (isSeen) isHeld.value = true;
      else timer = setTimeout(() => (isHeld.value = false), LET_GO_AFTER);
    },
    { immediate: true },
  );
  onMounted(() => document.addEventListener("visibilitychange", onVisibility));
  onBeforeUnmount(() => {
    document.removeEventListener("visibilitychange", onVisibility);
    clearTimeout(timer);
  });
  return isHeld;
}

/** Over when somebody looks at the page, or the signal says stop. */
export function seen(stop: AbortSignal): Promise<void> {
  if (!document.hidden || stop.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const over = (): void => {
      if (document.hidden && !stop.aborted) return;
      document.removeEventListener("visibilitychange", over);
      resolve();
    };
    document.addEventListener("visibilitychange", over);
    stop.addEventListener("abort", over, { once: true });
  });
}

/** What is watched on nobody's behalf holds one of the few connections that a browser makes: `turn` is aborted once the page
 * was out of sight for a minute. The answer stops looking. */
export function letGoUnseen(turn: AbortController): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => turn.abort(), LET_GO_AFTER);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
