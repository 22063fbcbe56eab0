// What the hub says of itself: its name and its register of purposes. Asked once a login.
import { shallowRef } from "vue";

import { call, system } from "./api";
import type { GetStatusResponse } from "./gen/vidhub/v1/system_service_pb";

export const hub = shallowRef<GetStatusResponse>();

export async function askHub(): Promise<void> {
  hub.value = await call(() => system.getStatus({}));
}

/** The name of a purpose in the register, in the language asked for. */
export function purposeName(kind: string, locale: string): string {
  const entry = hub.value?.purposes.find((one) => one.kind === kind);
  return (locale === "en" ? entry?.nameEn : entry?.name) || kind;
}
