// Roles as people pick them. The hub decides; this says beforehand what it will refuse (docs/reference/roles.md).
import { Role } from "./gen/vidhub/v1/auth_service_pb";

/** One account can't hold both. */
const EXCLUSIVE: [Role, Role][] = [
  [Role.OPERATOR, Role.ADMINISTRATOR],
  [Role.APPROVER, Role.AUDITOR],
  [Role.APPROVER, Role.ADMINISTRATOR],
  [Role.AUDITOR, Role.ADMINISTRATOR],
];

/** Which of the roles held keeps this one out, if one does. */
export function excludedBy(role: Role, held: Role[]): Role | undefined {
  for (const [one, other] of EXCLUSIVE) {
    if (role === one && held.includes(other)) return other;
    if (role === other && held.includes(one)) return one;
  }
  return undefined;
}

/** Whether an operator with these roles sees no video. */
export function losesVideo(held: Role[]): boolean {
  return held.includes(Role.OPERATOR) && held.some((role) => role !== Role.OPERATOR && role !== Role.UNIT);
}
