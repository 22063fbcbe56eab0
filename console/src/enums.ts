// Values of the protos' enums as the words that texts are found by: USER_STATE_ACTIVE is "active".
import type { DescEnum } from "@bufbuild/protobuf";

export function wordOf(type: DescEnum, value: number): string {
  return type.values.find((one) => one.number === value)?.localName.toLowerCase() ?? "unspecified";
}

/** All values but the unspecified one. */
export function valuesOf(type: DescEnum): number[] {
  return type.values.map((one) => one.number).filter((number) => number !== 0);
}
