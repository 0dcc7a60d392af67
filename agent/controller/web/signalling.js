// One connection to the room server: frames, acknowledgements, keepalive, reconnecting.
// The protocol is JSON text frames over a WebSocket; the server speaks first, with `welcome`.

// A new attempt finds a network that has come back sooner than one that began without it.
const REACH_TIMEOUT_MS = 4_000;
const WELCOME_TIMEOUT_MS = 10_000;
const ACK_TIMEOUT_MS = 15_000;
// A request unanswered for so long is reason to doubt the connection.
const DOUBT_AFTER_MS = 3_000;
const PING_AFTER_MS = 20_000;
const INACTIVITY_MS = 60_000;
// A connection that is doubted and stays silent for so long is dead.
const ALIVE_MS = 5_000;
const MAX_INBOUND_CHARS = 1_048_576;
// The longest pause is how long a network may be back without the caller being heard.
const RETRY = { initialMs: 500, factor: 2, maxMs: 3_000, jitter: 0.2, attempts: 1_000 };
const SUBSCRIBE_TRIES = 3;
const SUBSCRIBE_PAUSE_MS = 2_000;
const OVER_CONNECTION_LIMIT = 4010;
const OVER_LIMIT_PAUSE_MS = 30_000;
const INVALID_TOKEN = 4001;
const TOKEN_EXPIRED = 4002;
// About a minute of trying.
const FAILURES_BEFORE_FRESH = 12;
// After these the server would only refuse again: bad token, wrong room, suspended, sent away.
const TERMINAL = new Set([INVALID_TOKEN, 4003, 4012, 4020]);

export class RoomError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "RoomError";
    this.code = code;
  }
}

const requestId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const validIceServers = (list) =>
  Array.isArray(list) &&
  list.length <= 16 &&
  list.every(({ urls } = {}) => {
    const all = [urls].flat();
    return all.length > 0 && all.every((url) => typeof url === "string" && /^(stuns?|turns?):/i.test(url));
  });

/**
 * Events (payload in `detail`): `state` {state}, `connected` {again}, `message` and `direct` {channel, from,
 * data}, `presence` {channel, joined, left}, `lost` {code}, `closed` {code, reason} when it will not come back.
 */
export class RoomClient extends EventTarget {
  state = "idle";
  peerId = null;
  iceServers = [];
  #getAccess;
  #socket = null;
  #pending = new Map();
  #channels = new Set();
  #maxFrameBytes = 65_536;
  #pingTimer = 0;
  #watchdog = 0;
  #doubtTimer = 0;
  #floorMs = 0;
  #isAskedToWait = false;
  #wake = null;
  #freshAccess = false;
  #failures = 0;

  /** `getAccess(fresh)` resolves to {url, token | key}; `fresh` says that the last one is no good any more. */
  constructor(getAccess) {
    super();
    this.#getAccess = getAccess;
    this.wakeUp = () => {
      if (!this.#isAskedToWait) this.#wake?.();
      this.doubt();
    };
  }

  /** One attempt; later losses are retried in the background. Rejects with `RoomError` or what `getAccess` threw. */
  async connect() {
    this.#setState("connecting");
    addEventListener("online", this.wakeUp);
    // In the background timers sleep, and a telephone drops its network.
    document.addEventListener("visibilitychange", this.wakeUp);
    try {
      await this.#open(false);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async subscribe(channel) {
    this.#channels.add(channel);
    await this.#request({ type: "subscribe", channel });
  }

  publish(channel, data) {
    return this.#request({ type: "publish", channel, data });
  }

  send(to, data) {
    return this.#request({ type: "send", to, data });
  }

  /** There is reason to think that the network changed: the server answers soon, or the connection is replaced. */
  doubt() {
    const socket = this.#socket;
    if (this.state !== "connected" || this.#doubtTimer || socket.readyState !== WebSocket.OPEN) return;
    socket.send('{"type":"ping"}');
    this.#doubtTimer = setTimeout(() => this.#abandon(socket), ALIVE_MS);
  }

  close() {
    if (this.state === "closed") return;
    this.#setState("closed");
    removeEventListener("online", this.wakeUp);
    document.removeEventListener("visibilitychange", this.wakeUp);
    this.#quiet();
    this.#failPending();
    this.#socket?.close(1000, "client requested close");
    this.#wake?.();
  }

  async #open(again) {
    const access = await this.#getAccess(this.#freshAccess);
    if (this.state === "closed") throw new RoomError(1000, "closed while connecting");
    const fresh = this.#freshAccess;
    const credential = access.token ? `token=${encodeURIComponent(access.token)}` : `key=${encodeURIComponent(access.key)}`;
    const socket = new WebSocket(`${access.url.replace(/\/$/, "")}/v1?${credential}`);
    this.#socket = socket;
    await new Promise((resolve, reject) => {
      let timer = setTimeout(() => socket.close(4000, "nobody there"), REACH_TIMEOUT_MS);
      let welcomed = false;
      socket.onopen = () => {
        clearTimeout(timer);
        timer = setTimeout(() => socket.close(4000, "welcome timeout"), WELCOME_TIMEOUT_MS);
      };
      socket.onmessage = ({ data }) => {
        const frame = this.#parse(data);
        if (frame === null || socket !== this.#socket) return;
        this.#keepAlive();
        if (welcomed) return this.#onFrame(frame);
        if (frame.type !== "welcome" || typeof frame.peerId !== "string") return undefined;
        welcomed = true;
        clearTimeout(timer);
        this.#onWelcome(frame, again);
        return resolve();
      };
      socket.onclose = ({ code, reason }) => {
        clearTimeout(timer);
        // A token may have run out, or the server that knew it may have been replaced. Otherwise the old one
        // is kept: it brings the same peer id, so to the others we never left.
        this.#failures = welcomed ? 0 : this.#failures + 1;
        this.#freshAccess = code === TOKEN_EXPIRED || code === INVALID_TOKEN || this.#failures >= FAILURES_BEFORE_FRESH;
        if (welcomed) this.#onLost(code, reason);
        else reject(new RoomError(!fresh && again && code === INVALID_TOKEN ? 1006 : code, reason));
      };
    });
  }

  #parse(data) {
    if (typeof data !== "string") return null;
    if (data.length > MAX_INBOUND_CHARS) {
      this.#socket.close(1009, "frame exceeded client cap");
      return null;
    }
    try {
      const frame = JSON.parse(data);
      return typeof frame?.type === "string" ? frame : null;
    } catch {
      return null;
    }
  }

  #onWelcome(frame, again) {
    this.peerId = frame.peerId;
    if (Number.isFinite(frame.maxMessageSize)) this.#maxFrameBytes = frame.maxMessageSize;
    if (validIceServers(frame.metadata?.iceServers)) this.iceServers = frame.metadata.iceServers;
    this.#setState("connected");
    this.#emit("connected", { again });
    if (again) for (const channel of this.#channels) this.#resubscribe(channel);
  }

  async #resubscribe(channel) {
    const socket = this.#socket;
    for (let attempt = 0; attempt < SUBSCRIBE_TRIES && socket === this.#socket; attempt += 1) {
      try {
        return await this.#request({ type: "subscribe", channel });
      } catch {
        await new Promise((resolve) => setTimeout(resolve, SUBSCRIBE_PAUSE_MS));
      }
    }
    return undefined;
  }

  #onFrame(frame) {
    switch (frame.type) {
      case "ack":
        this.#settle(frame.requestId, (request) => request.resolve());
        break;
      case "error":
        this.#settle(frame.requestId, (request) => request.reject(new RoomError(frame.code, frame.message)));
        break;
      case "message":
      case "direct":
        if (typeof frame.from === "string") this.#emit(frame.type, frame);
        break;
      case "presence":
        if (Array.isArray(frame.joined) && Array.isArray(frame.left)) this.#emit("presence", frame);
        break;
      case "going_away":
        this.#floorMs = frame.retryAfterMs > 0 ? Math.min(frame.retryAfterMs, 300_000) : 1_000;
        break;
      default: // later versions may say more
    }
  }

  #onLost(code, reason) {
    this.#quiet();
    this.#failPending();
    if (this.state === "closed") return;
    if (code === OVER_CONNECTION_LIMIT) this.#floorMs = OVER_LIMIT_PAUSE_MS;
    this.#emit("lost", { code });
    if (TERMINAL.has(code)) this.#giveUp(code, reason);
    else this.#reconnect();
  }

  async #reconnect() {
    this.#setState("reconnecting");
    for (let attempt = 0; attempt < RETRY.attempts; attempt += 1) {
      await this.#pause(attempt);
      if (this.state === "closed") return;
      try {
        await this.#open(true);
        return;
      } catch (error) {
        if (this.state === "closed") return;
        if (TERMINAL.has(error.code)) return void this.#giveUp(error.code, error.message);
        if (error.code === OVER_CONNECTION_LIMIT) this.#floorMs = OVER_LIMIT_PAUSE_MS;
      }
    }
    this.#giveUp(1006, "the room server stayed unreachable");
  }

  #pause(attempt) {
    const base = Math.min(RETRY.initialMs * RETRY.factor ** attempt, RETRY.maxMs);
    const spread = RETRY.jitter * (2 * Math.random() - 1);
    // Never sooner than was asked for; those who were told the same time are spread out behind it.
    const waitMs = Math.max(base * (1 + spread), this.#floorMs * (1 + (RETRY.jitter + spread) / 2));
    this.#isAskedToWait = this.#floorMs > 0;
    this.#floorMs = 0;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #giveUp(code, reason) {
    this.close();
    this.#emit("closed", { code, reason });
  }

  #request(frame) {
    if (this.state !== "connected") return Promise.reject(new RoomError("not_connected", "not connected"));
    const id = requestId();
    const text = JSON.stringify({ ...frame, requestId: id });
    if (new TextEncoder().encode(text).length > this.#maxFrameBytes) {
      return Promise.reject(new RoomError("too_large", "the message is too large"));
    }
    return new Promise((resolve, reject) => {
      const expire = () => this.#settle(id, () => reject(new RoomError("ack_timeout", "the server did not answer")));
      const timers = [setTimeout(() => this.doubt(), DOUBT_AFTER_MS), setTimeout(expire, ACK_TIMEOUT_MS)];
      this.#pending.set(id, { resolve, reject, timers });
      this.#socket.send(text);
    });
  }

  #settle(id, finish) {
    const request = this.#pending.get(id);
    if (!request) return;
    this.#pending.delete(id);
    request.timers.forEach(clearTimeout);
    finish(request);
  }

  #failPending() {
    for (const id of [...this.#pending.keys()]) {
      this.#settle(id, (request) => request.reject(new RoomError("disconnected", "the connection was lost")));
    }
  }

  #keepAlive() {
    this.#quiet();
    const socket = this.#socket;
    this.#pingTimer = setInterval(() => {
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
    }, PING_AFTER_MS);
    this.#watchdog = setTimeout(() => this.#abandon(socket), INACTIVITY_MS);
  }

  // A dead network may never finish a closing handshake: the loss is acted on at once.
  #abandon(socket) {
    socket.onclose = null;
    socket.close(4000, "inactivity timeout");
    this.#onLost(4000, "inactivity timeout");
  }

  #quiet() {
    clearInterval(this.#pingTimer);
    clearTimeout(this.#watchdog);
    clearTimeout(this.#doubtTimer);
    this.#doubtTimer = 0;
  }

  #setState(state) {
    this.state = state;
    this.#emit("state", { state });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
