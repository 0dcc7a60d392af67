// One WebRTC connection to one other participant, by "perfect negotiation": either side may offer at any
// time, and on a collision the polite one gives way. A path that died is replaced for as long as the other
// one is in the room.

import { PathWatch } from "./path-watch.js";

const ANSWER_MS = 10_000;
const CONNECT_MS = 8_000;
// Before each attempt to get a lost connection back; the last one for ever.
const GAPS_MS = [0, 1_000, 2_000, 4_000];
// The first attempts only look for a new path; the later ones start over with a new connection.
const RESTARTS_BEFORE_REBUILD = 2;
// Both sides notice a dead path at about the same time: the polite one lets the other begin.
const COURTESY_MS = 500;
// Who leaves closes the connection too, and the news of both may come in either order.
const HANG_UP_MS = 1_000;
const MAX_CANDIDATES = 200;
const MAX_CANDIDATE_CHARS = 1_000;

const fingerprint = (description) => /^a=fingerprint:(.+)$/m.exec(description?.sdp ?? "")?.[1].trim();

/** Whether `data` of a direct message is for `RemotePeer.signal` and not for the application. */
export const isSignal = (data) =>
  (data?.type === "rtc-description" &&
    ["offer", "answer"].includes(data.description?.type) &&
    typeof data.description.sdp === "string") ||
  (data?.type === "rtc-ice" && (data.candidate == null || typeof data.candidate === "object"));

/** Events: `track` {track, stream}, `connection` {state}, `hangup` when the other side closed its end. */
export class RemotePeer extends EventTarget {
  state = "new";
  /** Whether there was a connection: what is missing now was lost, not late. */
  wasConnected = false;
  hungUp = false;
  #options;
  #pc = null;
  #watch = null;
  #makingOffer = false;
  #ignoreOffer = false;
  #answerPending = false;
  #candidates = 0;
  #inbox = Promise.resolve();
  #timer = 0; // of whatever is waited for: an answer, a connection, the next attempt
  #attempt = 0;

  /** `options`: {id, metadata, polite, iceServers, stream, send(data), isOnline()}; `stream` may be null: listen only. */
  constructor(options) {
    super();
    this.#options = options;
    this.id = options.id;
    this.metadata = options.metadata;
    this.#build();
  }

  get connection() {
    return this.#pc;
  }

  /** Takes one signalling payload of the remote side; payloads are handled in the order they came. */
  signal(data) {
    this.#inbox = this.#inbox
      .then(() => this.#pc && (data.type === "rtc-ice" ? this.#onCandidate(data.candidate) : this.#onDescription(data.description)))
      .catch((error) => console.warn("negotiation with", this.id, error));
  }

  /** A new connection in place of the old one, e.g. because our own id is another now. */
  rebuild(terms) {
    Object.assign(this.#options, terms);
    this.#build();
  }

  /** The way to the room server is open again: what waited for it begins now; what works is left alone. */
  resume(terms) {
    Object.assign(this.#options, terms);
    if (this.#pc === null || this.state === "connected" || this.state === "new") return;
    this.#attempt = 0;
    this.#startOver();
  }

  close() {
    this.#wait(0);
    this.#watch?.stop();
    const pc = this.#pc;
    this.#pc = null;
    pc?.close();
  }

  #build() {
    this.close();
    const { iceServers, stream } = this.#options;
    const pc = new RTCPeerConnection({ iceServers });
    this.#pc = pc;
    this.#makingOffer = this.#ignoreOffer = this.#answerPending = this.hungUp = false;
    const ours = (handler) => (event) => pc === this.#pc && handler(event);
    pc.onnegotiationneeded = ours(() => this.#offer());
    pc.onicecandidate = ours(({ candidate }) => this.#send({ type: "rtc-ice", candidate: candidate?.toJSON() ?? null }));
    pc.ontrack = ours(({ track, streams }) =>
      this.#emit("track", { track, stream: streams[0] ?? new MediaStream([track]) }),
    );
    pc.onconnectionstatechange = ours(() => this.#onConnectionState());
    this.#watch = new PathWatch(pc, {
      lost: () => this.#lost(),
      back: () => this.state === "reconnecting" && pc.signalingState === "stable" && this.#works(),
    });
    for (const track of stream?.getTracks() ?? []) pc.addTrack(track, stream);
  }

  async #offer(restart = false) {
    const pc = this.#pc;
    try {
      this.#makingOffer = true;
      const offer = await pc.createOffer({ iceRestart: restart });
      if (pc !== this.#pc || pc.signalingState === "have-remote-offer") return;
      await pc.setLocalDescription(offer);
      if (pc !== this.#pc || pc.signalingState !== "have-local-offer") return;
      this.#sendDescription();
      this.#wait(ANSWER_MS, () => this.#lost());
    } catch (error) {
      console.warn("no offer for", this.id, error);
    } finally {
      if (pc === this.#pc) this.#makingOffer = false;
    }
  }

  async #onDescription(description) {
    const isOffer = description.type === "offer";
    const settled = this.#pc.signalingState === "stable" || this.#answerPending;
    const collision = isOffer && (this.#makingOffer || !settled);
    this.#ignoreOffer = collision && !this.#options.polite;
    if (this.#ignoreOffer) return;
    if (!isOffer && this.#pc.signalingState !== "have-local-offer") return; // an answer to an offer of the past
    if (isOffer && this.#mustStartOver(description, collision)) this.#build();
    const pc = this.#pc;
    this.#candidates = 0;
    try {
      this.#answerPending = !isOffer;
      await pc.setRemoteDescription(description);
    } finally {
      this.#answerPending = false;
    }
    if (isOffer && pc === this.#pc) {
      await pc.setLocalDescription(await pc.createAnswer());
      if (pc === this.#pc) this.#sendDescription();
    }
    if (pc === this.#pc) this.#agreed();
  }

  // Either the other side has a new connection itself, or our first offer collided with theirs: rolling a
  // first offer back leaves Chromium, now and then, without candidates for the answer.
  #mustStartOver(description, collision) {
    const known = this.#pc.currentRemoteDescription;
    return known ? fingerprint(known) !== fingerprint(description) : collision;
  }

  async #onCandidate(candidate) {
    this.#candidates += 1;
    if (this.#candidates > MAX_CANDIDATES || candidate?.candidate?.length > MAX_CANDIDATE_CHARS) return;
    try {
      await this.#pc.addIceCandidate(candidate?.candidate ? candidate : null);
    } catch (error) {
      if (!this.#ignoreOffer) throw error;
    }
  }

  #agreed() {
    const pc = this.#pc;
    if (this.state === "connected") this.#wait(0);
    else this.#wait(CONNECT_MS, () => this.#lost());
    const dtls = pc.getReceivers()[0]?.transport;
    if (dtls) dtls.onstatechange = () => pc === this.#pc && dtls.state === "closed" && this.#onHangUp();
  }

  #onHangUp() {
    this.hungUp = true;
    this.#emit("hangup");
    if (this.#pc) this.#wait(HANG_UP_MS, () => this.#lost());
  }

  #onConnectionState() {
    const state = this.#pc.connectionState;
    // Chromium reports a dead path here while its iceConnectionState stays "disconnected".
    if (state === "failed" || state === "disconnected") this.#lost();
    else if (state === "connected") this.#works();
    else if (!this.wasConnected) this.#enter(state);
  }

  #works() {
    if (this.#pc.signalingState === "stable") this.#wait(0);
    this.#attempt = 0;
    this.wasConnected = true;
    this.#enter("connected");
  }

  // Whatever is under way is given its time; then comes the next attempt.
  #lost() {
    if (this.#timer || this.#pc === null) return;
    this.#enter("reconnecting");
    const courtesyMs = this.#options.polite && this.#attempt === 0 ? COURTESY_MS : 0;
    const gapMs = GAPS_MS[Math.min(this.#attempt, GAPS_MS.length - 1)];
    this.#wait(gapMs + courtesyMs || 1, () => this.#retry());
  }

  #retry() {
    // Without the room server no offer gets anywhere: `resume` tells when it is back.
    if (!this.#options.isOnline()) return;
    this.#attempt += 1;
    const canRestart = this.#pc.currentRemoteDescription && !this.hungUp;
    if (this.#attempt > RESTARTS_BEFORE_REBUILD || !canRestart) return void this.#startOver();
    this.#wait(CONNECT_MS, () => this.#lost());
    return void this.#offer(true);
  }

  #startOver() {
    this.#build();
    this.#wait(CONNECT_MS, () => this.#lost());
    // Without anything to send the browser would see nothing to negotiate.
    if (!this.#options.stream) this.#pc.addTransceiver("audio", { direction: "recvonly" });
  }

  #wait(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!then) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      then();
    }, ms);
  }

  #enter(state) {
    if (this.state !== state) this.#emit("connection", { state: (this.state = state) });
  }

  #sendDescription() {
    const { type, sdp } = this.#pc.localDescription;
    this.#send({ type: "rtc-description", description: { type, sdp } });
  }

  #send(data) {
    // A signal that is lost is made up for by the answer timeout and the recovery.
    this.#options.send(data).catch((error) => console.info("signal to", this.id, "not delivered:", error.message));
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
