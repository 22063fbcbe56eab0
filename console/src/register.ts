// The register of use as people search it.
import { timestampFromDate } from "@bufbuild/protobuf/wkt";

import { HubError, audit, call } from "./api";
import type { AuditEntry } from "./gen/vidhub/v1/audit_service_pb";
import { i18n, sentenceOf } from "./i18n";
import { purposeName } from "./hub";
import { moment, timeWritten } from "./times";

export interface Search {
  from: string;
  to: string;
  principal: string;
  action: string;
  cameraId: string;
  purposeKind: string;
  /** "ok" or "refused". */
  result: string;
  /** Of a refusal, as in "NO_GRANT". */
  reason: string;
  traceId: string;
  sessionId: string;
}

/** Entries that one file holds at most; the rest is another search. */
export const MOST_EXPORTED = 20_000;
const EXPORT_PAGE = 1_000;

export function blank(): Search {
  return { from: "", to: "", principal: "", action: "", cameraId: "", purposeKind: "", result: "", reason: "", traceId: "", sessionId: "" };
}

/** undefined for none. Throws where it is no time: an answer to a wider question would pass for the one that was asked. */
function timeOf(text: string) {
  const time = timeWritten(text);
  if (text.trim() && !time) throw new HubError("TIME_INVALID", `no time: ${text}`);
  return time && timestampFromDate(time);
}

/** As ListEntries takes it. A name alone is a person's. Throws HubError TIME_INVALID. */
export function questionOf(search: Search) {
  const { from, to, principal, result, reason, ...rest } = search;
  return {
    ...rest,
    result: reason || result,
    principal: !principal || principal.includes("/") || principal === "system" ? principal : `user/${principal}`,
    from: timeOf(from),
    to: timeOf(to),
  };
}

/** "session.open" in the language asked for; the word itself where we have none. */
export function actionName(action: string): string {
  const { t, te } = i18n.global;
  const key = `audit.action.${action.replaceAll(".", "_")}`;
  return te(key) ? t(key) : action;
}

export function resultName(result: string): string {
  return result === "ok" ? i18n.global.t("audit.ok") : sentenceOf(result, result);
}

export function purposeOf(entry: AuditEntry): string {
  const kind = entry.purposeKind && purposeName(entry.purposeKind, i18n.global.locale.value);
  return [kind, entry.purposeReference].filter(Boolean).join(" · ");
}

export function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export interface Exported {
  rows: string[][];
  /** There are more than one file holds. */
  isCut: boolean;
}

/** All that a search finds, up to the bound, as rows of a file. `tell`: how many so far. */
export async function exported(search: Search, signal: AbortSignal, tell: (count: number) => void): Promise<Exported> {
  const question = questionOf(search);
  const rows: string[][] = [
    ["time", "principal", "unit", "action", "resource", "purpose", "reference", "result", "address", "session_id",
      "grant_id", "trace_id", "detail", "chain_id", "seq", "hash"],
  ];
  let pageToken = "";
  do {
    const page = await call(() => audit.listEntries({ ...question, pageSize: EXPORT_PAGE, pageToken }, { signal }));
    for (const entry of page.entries) rows.push(rowOf(entry));
    pageToken = page.nextPageToken;
    tell(rows.length - 1);
  } while (pageToken && rows.length <= MOST_EXPORTED);
  return { rows: rows.slice(0, MOST_EXPORTED + 1), isCut: Boolean(pageToken) || rows.length > MOST_EXPORTED + 1 };
}

function rowOf(entry: AuditEntry): string[] {
  return [moment(entry.time), entry.principal, entry.principalUnit, entry.action, entry.resource, entry.purposeKind,
    entry.purposeReference, entry.result, entry.sourceAddress, entry.sessionId, entry.grantId, entry.traceId,
    entry.detailJson, entry.chainId, String(entry.seq), hex(entry.hash)];
}
