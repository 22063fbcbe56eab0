// The only way from views to the hub: clients generated from the protos, one login, errors with their stable reason.
import { createClient, Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { shallowRef } from "vue";

import { AuditService } from "./gen/vidhub/v1/audit_service_pb";
import { AuthService, type WhoAmIResponse } from "./gen/vidhub/v1/auth_service_pb";
import { CameraService } from "./gen/vidhub/v1/camera_service_pb";
import { EventService } from "./gen/vidhub/v1/event_service_pb";
import { GrantService } from "./gen/vidhub/v1/grant_service_pb";
import { HubService } from "./gen/vidhub/v1/hub_service_pb";
import { PurposeService } from "./gen/vidhub/v1/purpose_service_pb";
import { SessionService } from "./gen/vidhub/v1/session_service_pb";
import { SystemService } from "./gen/vidhub/v1/system_service_pb";
import { UnitService } from "./gen/vidhub/v1/unit_service_pb";
import { UserService } from "./gen/vidhub/v1/user_service_pb";

export interface Violation {
  /** As in "grant.scope.cameraIds[0]", in the words of the protos. */
  field: string;
  reason: string;
  description: string;
}

/** An error as the console shows it. */
export class HubError extends Error {
  constructor(
    readonly reason: string,
    message: string,
    readonly code: Code = Code.Unknown,
    /** The hub that refused, where it was another. */
    readonly hub = "",
    /** Rules that the fields of the request break, each by its path. */
    readonly violations: readonly Violation[] = [],
  ) {
    super(message);
  }
}

/** Set while a login may be going on, so that a first visit does not ask the hub for one. No secret. */
const LOGGED_IN = "vidhub.loggedIn";
/** The hub no longer takes the access token; a new one may help. */
const RENEWABLE = new Set(["TOKEN_EXPIRED", "TOKEN_INVALID"]);
/** They refuse what was typed, not the login. */
const TYPED_WRONG = new Set(["LOGIN_FAILED", "LOGIN_BACKOFF", "PASSWORD_WRONG"]);

// The access token lives here and nowhere else; the refresh token is a cookie that no script can read.
let accessToken = "";
let renewal: ReturnType<typeof setTimeout> | undefined;
let refreshing: Promise<void> | undefined;
/** The person logs out: what the hub says of the calls that end with it is no news. */
let isLeaving = false;

const bearer: Interceptor = (next) => (request) => {
  if (accessToken) request.header.set("Authorization", `Bearer ${accessToken}`);
  return next(request);
};

const transport = createConnectTransport({ baseUrl: location.origin, interceptors: [bearer], useBinaryFormat: true });
/** For what is said as the page goes away: the browser sends it all the same. */
const lastWords = createConnectTransport({
  baseUrl: location.origin,
  interceptors: [bearer],
  useBinaryFormat: true,
  fetch: (input, init) => fetch(input, { ...init, keepalive: true }),
});
const auth = createClient(AuthService, transport);
export const audit = createClient(AuditService, transport);
export const cameras = createClient(CameraService, transport);
export const events = createClient(EventService, transport);
export const grants = createClient(GrantService, transport);
export const hubs = createClient(HubService, transport);
export const purposes = createClient(PurposeService, transport);
export const sessions = createClient(SessionService, transport);
export const closing = createClient(SessionService, lastWords);
export const system = createClient(SystemService, transport);
export const units = createClient(UnitService, transport);
export const users = createClient(UserService, transport);

/** Who is logged in. */
export const me = shallowRef<WhoAmIResponse>();
export const mustChangePassword = shallowRef(false);
/** Why the last login ended, when nobody asked for it. */
export const farewell = shallowRef<HubError>();

export async function login(username: string, password: string): Promise<void> {
  const answer = await call(() => auth.login({ username, password }));
  mustChangePassword.value = answer.mustChangePassword;
  await enter(answer.accessToken, answer.expireTime);
}

/** Takes up a login that the browser's cookie still holds; false when there is none. */
export async function resume(): Promise<boolean> {
  if (!localStorage.getItem(LOGGED_IN)) return false;
  try {
    await refresh();
    return true;
  } catch (cause) {
    const error = hubError(cause);
    if (error.code === Code.Unauthenticated) localStorage.removeItem(LOGGED_IN);
    farewell.value = error;
    return false;
  }
}

export async function logout(): Promise<void> {
  isLeaving = true;
  try {
    await call(() => auth.logout({}));
  } finally {
    leave();
    isLeaving = false;
  }
}

export async function changePassword(oldPassword: string, newPassword: string): Promise<void> {
  const name = me.value?.username ?? "";
  await call(() => auth.changePassword({ oldPassword, newPassword }));
  // Every login ends with the password; this one begins anew.
  await login(name, newPassword);
}

/** One at a time, in all tabs: the hub takes a refresh token that was used before for a stolen one. */
function refresh(): Promise<void> {
  const work = () => attempt(() => auth.refresh({}));
  refreshing ??= (async () => {
    // Browsers have locks on secure origins alone; elsewhere people keep to one tab.
    const answer = navigator.locks ? await navigator.locks.request("vidhub.refresh", work) : await work();
    await enter(answer.accessToken, answer.expireTime);
  })().finally(() => (refreshing = undefined));
  return refreshing;
}

async function enter(token: string, expires: Timestamp | undefined): Promise<void> {
  accessToken = token;
  clearTimeout(renewal);
  const life = expires ? timestampMs(expires) - Date.now() : 60_000;
  // Early enough for two more tries.
  renewal = setTimeout(() => void keep(), Math.max(5_000, life * 0.6));
  me.value = await attempt(() => auth.whoAmI({}));
  farewell.value = undefined;
  localStorage.setItem(LOGGED_IN, "1");
}

async function keep(): Promise<void> {
  try {
    await refresh();
  } catch (cause) {
    const error = hubError(cause);
    if (error.code === Code.Unauthenticated) leave(error);
    else renewal = setTimeout(() => void keep(), 10_000);
  }
}

function leave(because?: HubError): void {
  clearTimeout(renewal);
  accessToken = "";
  me.value = undefined;
  mustChangePassword.value = false;
  farewell.value = isLeaving ? undefined : because;
  localStorage.removeItem(LOGGED_IN);
}

/**
 * Makes one call; whatever goes wrong becomes a HubError. A token that ran out (the computer slept) is renewed and the
 * call made once more; a login that has ended leads back to the login page.
 */
export async function call<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await attempt(work);
  } catch (cause) {
    const error = hubError(cause);
    if (!(await isRevived(error))) throw error;
    return attempt(work);
  }
}

/** Whether a call that was refused for its login may be made again. */
export async function isRevived(error: HubError): Promise<boolean> {
  if (error.code !== Code.Unauthenticated || !accessToken || TYPED_WRONG.has(error.reason)) return false;
  if (!RENEWABLE.has(error.reason)) {
    leave(error);
    return false;
  }
  try {
    await refresh();
    return true;
  } catch (cause) {
    const last = hubError(cause);
    if (last.code === Code.Unauthenticated) leave(last);
    return false;
  }
}

async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw hubError(cause);
  }
}

export function hubError(cause: unknown): HubError {
  if (cause instanceof HubError) return cause;
  const error = ConnectError.from(cause);
  const { reason, hub } = infoOf(error);
  if (!reason && (error.code === Code.Unknown || error.code === Code.Unavailable)) {
    return new HubError("HUB_UNREACHABLE", error.rawMessage, error.code);
  }
  return new HubError(reason || Code[error.code]!.toUpperCase(), error.rawMessage, error.code, hub, violationsOf(error));
}

interface Info {
  reason: string;
  hub: string;
}

/** The google.rpc.ErrorInfo among the details. */
function infoOf(error: ConnectError): Info {
  for (const detail of error.details) {
    if ("type" in detail && detail.type === "google.rpc.ErrorInfo") return readInfo(detail.value);
  }
  return { reason: "", hub: "" };
}

/** What we need of ErrorInfo: its reason (field 1), and "hub" of its metadata (field 3). */
export function readInfo(message: Uint8Array): Info {
  const info = { reason: "", hub: "" };
  for (const [field, value] of fieldsOf(message)) {
    if (field === 1) info.reason = new TextDecoder().decode(value);
    if (field !== 3) continue;
    const [key, word] = fieldsOf(value).map(([, bytes]) => new TextDecoder().decode(bytes));
    if (key === "hub" && word) info.hub = word;
  }
  return info;
}

/** The rows of google.rpc.BadRequest among the details. */
function violationsOf(error: ConnectError): Violation[] {
  for (const detail of error.details) {
    if ("type" in detail && detail.type === "google.rpc.BadRequest") return readViolations(detail.value);
  }
  return [];
}

/** Of BadRequest: field (1), description (2) and reason (3) of each row (field 1). */
export function readViolations(message: Uint8Array): Violation[] {
  return fieldsOf(message).map(([, row]) => {
    const words = new Map(fieldsOf(row).map(([field, bytes]) => [field, new TextDecoder().decode(bytes)]));
    return { field: words.get(1) ?? "", description: words.get(2) ?? "", reason: words.get(3) ?? "" };
  });
}

/** Fields of a protobuf message that have a length, as far as it can be read. */
function fieldsOf(message: Uint8Array): [number, Uint8Array][] {
  const found: [number, Uint8Array][] = [];
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const [field, kind] = reader.tag();
      if (kind === WireType.LengthDelimited) found.push([field, reader.bytes()]);
      else reader.skip(kind, field);
    }
  } catch {
    // What came so far is what there is.
  }
  return found;
}
