// The only way from views to the hub: clients generated from the protos, one login, errors with their stable reason.
import { createClient, Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { shallowRef } from "vue";

import { AuthService, type WhoAmIResponse } from "./gen/vidhub/v1/auth_service_pb";
import { CameraService } from "./gen/vidhub/v1/camera_service_pb";
import { SessionService } from "./gen/vidhub/v1/session_service_pb";
import { SystemService } from "./gen/vidhub/v1/system_service_pb";

/** An error as the console shows it. */
export class HubError extends Error {
  constructor(
    readonly reason: string,
    message: string,
    readonly code: Code = Code.Unknown,
  ) {
    super(message);
  }
}

// The access token lives here and nowhere else; the refresh token is a cookie that no script can read.
let accessToken = "";
let renewal: ReturnType<typeof setTimeout> | undefined;

const bearer: Interceptor = (next) => (request) => {
  if (accessToken) request.header.set("Authorization", `Bearer ${accessToken}`);
  return next(request);
};

const transport = createConnectTransport({ baseUrl: location.origin, interceptors: [bearer], useBinaryFormat: true });
const auth = createClient(AuthService, transport);
export const cameras = createClient(CameraService, transport);
export const sessions = createClient(SessionService, transport);
export const system = createClient(SystemService, transport);

/** Who is logged in. */
export const me = shallowRef<WhoAmIResponse>();
export const mustChangePassword = shallowRef(false);

export async function login(username: string, password: string): Promise<void> {
  const answer = await call(() => auth.login({ username, password }));
  mustChangePassword.value = answer.mustChangePassword;
  await enter(answer.accessToken, answer.expireTime);
}

/** Takes up a login that the browser's cookie still holds; false when there is none. */
export async function resume(): Promise<boolean> {
  try {
    await refresh();
    return true;
  } catch {
    return false;
  }
}

export async function logout(): Promise<void> {
  try {
    await call(() => auth.logout({}));
  } finally {
    leave();
  }
}

export async function changePassword(oldPassword: string, newPassword: string): Promise<void> {
  const name = me.value?.username ?? "";
  await call(() => auth.changePassword({ oldPassword, newPassword }));
  // Every login ends with the password; this one begins anew.
  await login(name, newPassword);
}

/** One tab at a time: the hub takes a refresh token that was used before for a stolen one, and ends the login. */
async function refresh(): Promise<void> {
  const work = () => call(() => auth.refresh({}));
  // Browsers have locks on secure origins alone; elsewhere people keep to one tab.
  const answer = navigator.locks ? await navigator.locks.request("vidhub.refresh", work) : await work();
  await enter(answer.accessToken, answer.expireTime);
}

async function enter(token: string, expires: Timestamp | undefined): Promise<void> {
  accessToken = token;
  clearTimeout(renewal);
  const life = expires ? timestampMs(expires) - Date.now() : 60_000;
  // Early enough for two more tries.
  renewal = setTimeout(() => void keep(), Math.max(5_000, life * 0.6));
  me.value = await call(() => auth.whoAmI({}));
}

async function keep(): Promise<void> {
  try {
    await refresh();
  } catch (error) {
    if (error instanceof HubError && error.code === Code.Unauthenticated) leave();
    else renewal = setTimeout(() => void keep(), 10_000);
  }
}

function leave(): void {
  clearTimeout(renewal);
  accessToken = "";
  me.value = undefined;
  mustChangePassword.value = false;
}

/** Makes one call; whatever goes wrong becomes a HubError. A login that has ended leads back to the login page. */
export async function call<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const error = hubError(cause);
    if (error.code === Code.Unauthenticated && accessToken && error.reason !== "LOGIN_FAILED") leave();
    throw error;
  }
}

export function hubError(cause: unknown): HubError {
  if (cause instanceof HubError) return cause;
  const error = ConnectError.from(cause);
  const reason = reasonOf(error);
  if (!reason && (error.code === Code.Unknown || error.code === Code.Unavailable)) {
    return new HubError("HUB_UNREACHABLE", error.rawMessage, error.code);
  }
  return new HubError(reason || Code[error.code]!.toUpperCase(), error.rawMessage, error.code);
}

/** `reason` of the google.rpc.ErrorInfo among the details. */
function reasonOf(error: ConnectError): string {
  for (const detail of error.details) {
    if ("type" in detail && detail.type === "google.rpc.ErrorInfo") return firstString(detail.value);
  }
  return "";
}

/** Field 1 of a protobuf message, when it is a string: all we need of ErrorInfo. */
export function firstString(message: Uint8Array): string {
  const length = message[1];
  if (message[0] !== 0x0a || length === undefined || length > 127) return "";
  return new TextDecoder().decode(message.subarray(2, 2 + length));
}

