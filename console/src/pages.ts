// Which pages there are, and for whom: the hub refuses what a role may not do, the console does not offer it.
import { Role } from "./gen/vidhub/v1/auth_service_pb";

const LOOKING = [Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR];

/** In the order in which they are offered; without roles: to everybody. */
const OFFERED = {
  live: undefined,
  map: undefined,
  events: undefined,
  unit: [Role.UNIT],
  sessions: undefined,
  audit: [Role.AUDITOR, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.UNIT],
  people: LOOKING,
  grants: [Role.OPERATOR, ...LOOKING],
  units: LOOKING,
  purposes: [Role.SUPERVISOR, Role.ADMINISTRATOR],
  network: [Role.SUPERVISOR, Role.ADMINISTRATOR],
} satisfies Record<string, Role[] | undefined>;

export type Page = keyof typeof OFFERED;

/** Where a role begins, the first that fits. Who watches begins there; so do all others. */
const HOMES: [Role, Page][] = [
  [Role.AUDITOR, "audit"],
  [Role.UNIT, "unit"],
  [Role.ADMINISTRATOR, "people"],
  [Role.APPROVER, "grants"],
];

export function isPage(word: string): word is Page {
  return Object.hasOwn(OFFERED, word);
}

export function pagesOf(roles: Role[]): Page[] {
  return (Object.entries(OFFERED) as [Page, Role[] | undefined][])
    .filter(([, wanted]) => !wanted || roles.some((role) => wanted.includes(role)))
    .map(([name]) => name);
}

export function homeOf(roles: Role[]): Page {
  if (roles.includes(Role.OPERATOR)) return "live";
  return HOMES.find(([role]) => roles.includes(role))?.[1] ?? "live";
}
