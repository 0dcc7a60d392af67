// The controller's REST interface, as far as the page needs it.

const KEY = "voice-agent-api-key";

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

async function call(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  // A header takes only Latin letters; what a person pastes may hold others.
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get().replace(/[^\x21-\x7e]/g, "")}`;
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, "unreachable", "The service does not answer.");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const { code = "error", message = `The service answered ${response.status}.` } = answer?.error ?? {};
  throw new ApiError(response.status, code, message);
}

export const about = () => call("GET", "about");
export const inviteAgent = (request) => call("POST", "agents", request);

/** Access to `room`: {url, token | key}. Behind a proxy that speaks https, so must the socket. */
export async function roomAccess(room) {
  const access = await call("POST", "tokens", { room });
  const url = new URL(access.url);
  if (location.protocol === "https:" && url.protocol === "ws:" && url.host === location.host) url.protocol = "wss:";
  return { ...access, url: url.origin === "null" ? `${url.protocol}//${url.host}` : url.origin };
}
