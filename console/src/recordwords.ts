// Fields, choices and rules of a record in the language asked for.
import { PlaceCategorySchema, type PlaceCategory } from "./gen/vidhub/v1/camera_pb";
import { i18n } from "./i18n";

const { t, te } = i18n.global;

export function fieldName(path: string): string {
  const key = `record.field.${path.replaceAll(".", "_")}`;
  return te(key) ? t(key) : path;
}

/** The field where it stands alone: of a stream with which one. */
export function fullName(path: string): string {
  const [first] = path.split(".");
  return first === "main" || first === "sub" ? `${t(`record.group.${first}`)}：${fieldName(path)}` : fieldName(path);
}

/** What to do about a broken rule, in the hub's own words where we have none. */
export function ruleSentence(reason: string, description: string): string {
  const key = `record.rule.${reason}`;
  return te(key) ? t(key) : description || reason;
}

export function placeName(category: PlaceCategory): string {
  const word = PlaceCategorySchema.value[category]?.name.replace("PLACE_CATEGORY_", "").toLowerCase() ?? "";
  const key = `record.place.${word}`;
  return te(key) ? t(key) : "";
}

export function industryName(code: string): string {
  const key = `record.industry.${code}`;
  return te(key) ? `${code} ${t(key)}` : code;
}

export const INDUSTRIES = Object.keys(i18n.global.messages.value["zh-CN"].record.industry).sort();

export interface Choice {
  value: string;
  title: string;
}

export function choicesOf(path: string): Choice[] {
  const none = { value: "", title: t("record.choose") };
  if (path === "industry") return [none, ...INDUSTRIES.map((code) => ({ value: code, title: industryName(code) }))];
  if (path === "place_category") {
    const words = Object.keys(i18n.global.messages.value["zh-CN"].record.place);
    return [none, ...words.map((word) => ({ value: word, title: t(`record.place.${word}`) }))];
  }
  if (path === "legal.near_secret_unit") {
    return ["", "yes"].map((word) => ({ value: word, title: t(`record.${word || "no"}`) }));
  }
  return ["", "tcp", "udp"].map((word) => ({ value: word, title: t(`record.transport.${word || "unspecified"}`) }));
}
