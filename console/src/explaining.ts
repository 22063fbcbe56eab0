// Why a camera is seen from a linked hub or not, in the console's language; and which hubs say that its id is theirs.
import type { ExplainCameraResponse_Finding as Finding } from "./gen/vidhub/v1/hub_service_pb";
import { i18n, sentenceOf } from "./i18n";
import { FIELD_GROUPS } from "./sharing";

/** By a hub's id; "" is this one. */
type Names = (hubId: string) => string;

const CLAIMS = ["CAMERA_ID_TAKEN", "CAMERA_BY_OTHER_WAY"];
const { t, te } = i18n.global;

/** The hubs that claim the id and have brought it, this one last; none where nobody disputes it here. */
export function claimantsOf(findings: readonly Finding[], self: string): string[] {
  const disputes = findings.filter((one) => !one.hubId && CLAIMS.includes(one.cause));
  if (!disputes.length) return [];
  const found = disputes.flatMap((one) => [one.holdingHubId, one.offeringHubId]);
  return [...new Set(found)].filter((id) => id && id !== self).concat(self);
}

/** In one word or two. */
export function wordOfFinding({ reason }: Finding): string {
  const key = `network.explain.reason.${reason}`;
  return te(key) ? t(key) : reason;
}

/** Whole, with what it is about; the hub's own words where we have none. */
export function sentencesOf(finding: Finding, nameOf: Names): string {
  const { reason, hubId, lag, missingFields } = finding;
  const hub = nameOf(hubId);
  const said = (key: string, holes: Record<string, string | number> = {}) => t(`network.explain.said.${key}`, { hub, ...holes });
  switch (reason) {
    case "CONFLICT": {
      const offer = finding.offeringHubId;
      const parts = [offer ? said("offered", { hub: nameOf(offer) }) : said("notTaken"), whyNot(finding.cause, finding.holdingHubId, nameOf)];
      if (finding.assignedHubId) parts.push(said("assigned", { hub: nameOf(finding.assignedHubId) }));
      if (finding.likelyHubId) parts.push(said("likely", { hub: nameOf(finding.likelyHubId) }));
      return parts.join("");
    }
    case "OTHER_WAY": {
      const holder = { holder: nameOf(finding.holdingHubId) };
      const parts = [hubId ? said("OTHER_WAY", holder) : said("OTHER_WAY_HERE", holder)];
      if (finding.assignedHubId) parts.push(said("assigned", { hub: nameOf(finding.assignedHubId) }));
      return parts.join("");
    }
    case "THEIRS":
      return said(finding.stale ? "THEIRS_STALE" : "THEIRS");
    case "LAGGING":
      return said(finding.visible ? "LAGGING" : "LAGGING_UNTOLD", { lag: Number(lag) });
    case "NOT_PERMITTED":
      return said("NOT_PERMITTED", { why: sentenceOf(finding.cause, finding.cause) });
    case "FIELD_FILTERED":
      return said("FIELD_FILTERED", { list: missingFields.map((one) => t(FIELD_GROUPS[one] ?? one)).join(", ") });
    default:
      return te(`network.explain.said.${reason}`) ? said(reason) : finding.message;
  }
}

/** Why a camera is not taken; `holdingHubId`: whose camera has the id. */
export function whyNot(cause: string, holdingHubId: string, nameOf: Names): string {
  const key = `network.explain.why.${cause}`;
  const holder = holdingHubId ? nameOf(holdingHubId) : t("network.explain.another");
  return te(key) ? t(key, { hub: holder }) : t("network.explain.why.other", { reason: cause });
}
