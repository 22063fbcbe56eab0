// Which pages there are, and for whom: the hub refuses what a role may not do, the console does not offer it.
import { ref } from "vue";

import { Role } from "./gen/vidhub/v1/auth_service_pb";

export type Page = "live" | "network";

export const page = ref<Page>("live");

const OVERSEERS = [Role.SUPERVISOR, Role.ADMINISTRATOR];

export function pagesOf(roles: Role[]): Page[] {
  return roles.some((role) => OVERSEERS.includes(role)) ? ["live", "network"] : ["live"];
}
