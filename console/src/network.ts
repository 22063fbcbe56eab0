// The links of this hub as people read them: asked for every few seconds while somebody looks.
import { shallowRef } from "vue";

import { call, hubError, hubs, type HubError } from "./api";
import { HubSide, HubState, type Hub, type ListHubsResponse } from "./gen/vidhub/v1/hub_service_pb";
import { daysUntil } from "./times";

const EVERY_MS = 3_000;
/** A certificate that ends sooner wants a look. */
const SOON_DAYS = 30;

export const network = shallowRef<ListHubsResponse>();
export const networkTrouble = shallowRef<HubError>();

/** Keeps `network` as it is now until the signal. */
export async function keepNetwork(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await askNetwork();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, EVERY_MS);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

export async function askNetwork(): Promise<void> {
  try {
    network.value = await call(() => hubs.listHubs({}));
    networkTrouble.value = undefined;
  } catch (cause) {
    networkTrouble.value = hubError(cause);
  }
}

export function forgetNetwork(): void {
  network.value = undefined;
  networkTrouble.value = undefined;
}

/** Those above and those below, each in order of name. */
export function levels(all: Hub[]): { upper: Hub[]; lower: Hub[] } {
  const sorted = [...all].sort((one, other) => one.name.localeCompare(other.name, "zh-CN"));
  return {
    upper: sorted.filter((hub) => hub.side === HubSide.UPPER),
    lower: sorted.filter((hub) => hub.side !== HubSide.UPPER),
  };
}

/** How a link is, in one word of the console's. One that the other side has ended is accepted by nobody, and down. */
export function linkWord(hub: Hub): "invited" | "waiting" | "up" | "down" {
  if (hub.state === HubState.INVITED) return "invited";
  if (hub.state === HubState.DOWN) return "down";
  if (!hub.acceptedHere || !hub.acceptedThere) return "waiting";
  return "up";
}

/** 1,536 as "1.5 KiB". */
export function octets(value: bigint): string {
  let rest = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (rest < 1024) return `${unit === "B" ? rest : rest.toFixed(1)} ${unit}`;
    rest /= 1024;
  }
  return `${rest.toFixed(1)} TiB`;
}

export function endsSoon(hub: Hub, now = Date.now()): boolean {
  const days = daysUntil(hub.certificateExpireTime, now);
  return days !== undefined && days < SOON_DAYS;
}
