// A camera's record as people write it: one text for each field, named by its dotted path, in forms and in files alike.
import { clone, create, ScalarType, type DescField, type DescMessage, type Message } from "@bufbuild/protobuf";

import { CameraSchema, CameraStreamSchema, StreamProfile, type Camera } from "./gen/vidhub/v1/camera_pb";

export type Kind = "text" | "area" | "number" | "date" | "password" | "choice";

export interface Field {
  path: string;
  kind: Kind;
  /** Without it the hub refuses the record. */
  required?: boolean;
  /** The law or the network's work asks for it; a record without it is incomplete. */
  asked?: boolean;
  max?: number;
}

export interface Group {
  name: "identity" | "location" | "main" | "sub" | "legal" | "device";
  fields: Field[];
}

/** What the form shows; a file may hold every field that a camera has. */
export const GROUPS: Group[] = [
  {
    name: "identity",
    fields: [
      { path: "name", kind: "text", required: true, max: 128 },
      { path: "id", kind: "text", max: 20 },
      { path: "region_code", kind: "text", required: true, max: 6 },
      { path: "industry", kind: "choice", required: true },
      { path: "place_category", kind: "choice", required: true },
    ],
  },
  {
    name: "location",
    fields: [
      { path: "location.latitude", kind: "number", required: true },
      { path: "location.longitude", kind: "number", required: true },
      { path: "location.address", kind: "text", asked: true, max: 256 },
    ],
  },
  {
    name: "main",
    fields: [
      { path: "main.url", kind: "text", max: 1024 },
      { path: "main.username", kind: "text", max: 128 },
      { path: "main.password", kind: "password", max: 256 },
      { path: "main.transport", kind: "choice" },
    ],
  },
  {
    name: "sub",
    fields: [
      { path: "sub.url", kind: "text", asked: true, max: 1024 },
      { path: "sub.username", kind: "text", max: 128 },
      { path: "sub.password", kind: "password", max: 256 },
      { path: "sub.transport", kind: "choice" },
    ],
  },
  {
    name: "legal",
    fields: [
      { path: "legal.place_basis", kind: "text", required: true, max: 500 },
      { path: "legal.purpose", kind: "text", required: true, max: 500 },
      { path: "legal.scope", kind: "text", required: true, max: 500 },
      { path: "legal.retention_days", kind: "number", required: true },
      { path: "legal.signage_text", kind: "text", asked: true, max: 1000 },
      { path: "legal.signage_date", kind: "date", asked: true },
      { path: "legal.near_secret_unit", kind: "choice" },
      { path: "legal.consent", kind: "text", max: 500 },
    ],
  },
  {
    name: "device",
    fields: [
      { path: "device.manufacturer", kind: "text", asked: true, max: 128 },
      { path: "device.model", kind: "text", asked: true, max: 128 },
      { path: "device.mac", kind: "text", max: 17 },
      { path: "device.ip_address", kind: "text", max: 45 },
      { path: "device.install_time", kind: "date", asked: true },
      { path: "device.management_unit", kind: "text", asked: true, max: 128 },
      { path: "device.contact_info", kind: "text", asked: true, max: 128 },
      { path: "device.pole_number", kind: "text", max: 64 },
    ],
  },
];

export const FIELDS: Field[] = GROUPS.flatMap((group) => group.fields);

/** Texts by path; what is not there is empty. */
export type Texts = Record<string, string>;

const PROFILES: Record<string, StreamProfile> = { main: StreamProfile.MAIN, sub: StreamProfile.SUB };
/** What the hub fills in is not for a form or a file to say. */
const OUTPUT_ONLY = new Set([
  "state", "state_time", "state_reason", "revision", "create_time", "update_time", "home_hub_id", "stale", "streams",
  "unit_name", "region_name", "warnings",
]);

/** The field that a path names, or undefined where a camera has no such field. */
export function fieldOf(path: string): DescField | undefined {
  const [first = "", rest, more] = path.split(".");
  if (more !== undefined) return undefined;
  if (first in PROFILES) return rest === "profile" ? undefined : named(CameraStreamSchema, rest);
  const field = named(CameraSchema, first);
  if (!field || OUTPUT_ONLY.has(first)) return undefined;
  if (field.fieldKind === "message") return named(field.message, rest);
  return rest === undefined ? field : undefined;
}

function named(message: DescMessage, name: string | undefined): DescField | undefined {
  return message.fields.find((field) => field.name === name);
}

type Bag = Message & Record<string, unknown>;

/** The message of a camera that holds the field; made where it is missing and `isMade`. */
function holder(camera: Camera, path: string, isMade: boolean): Bag | undefined {
  const [first = "", rest] = path.split(".");
  if (first in PROFILES) {
    const profile = PROFILES[first]!;
    let stream = camera.streams.find((one) => one.profile === profile);
    if (!stream && isMade) camera.streams.push((stream = create(CameraStreamSchema, { profile })));
    return stream as Bag | undefined;
  }
  if (rest === undefined) return camera as unknown as Bag;
  const field = named(CameraSchema, first)!;
  const bag = camera as unknown as Bag;
  if (!bag[field.localName] && isMade && field.fieldKind === "message") bag[field.localName] = create(field.message);
  return bag[field.localName] as Bag | undefined;
}

/** How a text does not fit its field: a word of the console's. */
export type Misfit = "UNKNOWN_WORD" | "NO_NUMBER";

/** How people write that something is so. The first of each kind is what `read` gives for it. */
const SO = ["yes", "true", "1", "是"];
const NOT_SO = ["", "no", "false", "0", "否"];

/** Writes one field; an empty text takes it back. Says how the text does not fit, if it does not. */
export function write(camera: Camera, path: string, text: string): Misfit | undefined {
  const field = fieldOf(path)!;
  const bag = holder(camera, path, text !== "");
  if (!bag) return undefined;
  if (field.fieldKind === "enum") {
    const prefix = field.enum.values[0]!.name.replace(/UNSPECIFIED$/, "");
    const word = text.toUpperCase() || "UNSPECIFIED";
    const value = field.enum.values.find((one) => one.name === prefix + word || one.name === word);
    if (!value) return "UNKNOWN_WORD";
    bag[field.localName] = value.number;
    return undefined;
  }
  if (field.fieldKind !== "scalar") return undefined;
  if (field.scalar === ScalarType.STRING) {
    bag[field.localName] = text;
    return undefined;
  }
  if (field.scalar === ScalarType.BOOL) {
    const word = text.toLowerCase();
    if (!SO.includes(word) && !NOT_SO.includes(word)) return "UNKNOWN_WORD";
    bag[field.localName] = SO.includes(word);
    return undefined;
  }
  const number = text === "" ? 0 : Number(text);
  const isWhole = field.scalar !== ScalarType.DOUBLE;
  if (!Number.isFinite(number) || (isWhole && !(Number.isInteger(number) && number >= 0 && number < 2 ** 32))) {
    return "NO_NUMBER";
  }
  bag[field.localName] = number;
  return undefined;
}

/** One field as text; what was never given is empty. */
export function read(camera: Camera, path: string): string {
  const field = fieldOf(path)!;
  const value = holder(camera, path, false)?.[field.localName];
  if (!value) return "";
  if (value === true) return SO[0]!;
  if (field.fieldKind !== "enum") return String(value);
  const prefix = field.enum.values[0]!.name.replace(/UNSPECIFIED$/, "");
  return (field.enum.values.find((one) => one.number === value)?.name ?? "").replace(prefix, "").toLowerCase();
}

export function textsOf(camera: Camera): Texts {
  return Object.fromEntries(FIELDS.map(({ path }) => [path, read(camera, path)]));
}

/** A new record, or `base` with what the texts say; `misfits` by path. A camera has a main stream, also when it is pushed. */
export function cameraOf(texts: Texts, base?: Camera): { camera: Camera; misfits: Record<string, Misfit> } {
  const camera = base ? clone(CameraSchema, base) : create(CameraSchema);
  const misfits: Record<string, Misfit> = {};
  for (const [path, text] of Object.entries(texts)) {
    const misfit = write(camera, path, text.trim());
    if (misfit) misfits[path] = misfit;
  }
  // A sub stream whose fields were all taken back is none.
  camera.streams = camera.streams.filter((one) => one.profile !== StreamProfile.SUB || one.url || one.username);
  if (!camera.streams.some((one) => one.profile === StreamProfile.MAIN)) {
    camera.streams.unshift(create(CameraStreamSchema, { profile: StreamProfile.MAIN }));
  }
  return { camera, misfits };
}

/** "streams[1].url", as the hub names a field of what it was sent, by the path that people know. */
export function pathOf(field: string, camera: Camera): string {
  const found = /^(?:camera\.)?streams\[(\d+)\]\.?(.*)$/.exec(field);
  if (!found) return field.replace(/^camera\./, "");
  const profile = camera.streams[Number(found[1])]?.profile;
  return `${profile === StreamProfile.SUB ? "sub" : "main"}.${found[2] || "url"}`;
}

/** What the record lacks of all that is required or asked for. */
export function missingOf(camera: Camera): string[] {
  // Blanks are nothing, as the report of the hub has it.
  return WANTED.filter(({ path }) => !read(camera, path).trim()).map(({ path }) => path);
}

/** Required or asked for. A camera that is pushed has no address, so none is wanted of its main stream. */
const WANTED = FIELDS.filter((field) => field.required || field.asked);

export function completeness(camera: Camera): { filled: number; of: number } {
  return { filled: WANTED.length - missingOf(camera).length, of: WANTED.length };
}
