// One WebRTC connection to one other participant, by "perfect negotiation": either side may offer at any
// time, and on a collision the polite one gives way.

const ANSWER_TIMEOUT_MS = 10_000;
const RECOVERY_WAIT_MS = 15_000;
const RECOVERY_DELAYS_MS = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000];
// The first attempts only look for a new path; the later ones start over with a new connection.
const RESTARTS_BEFORE_REBUILD = 2;
const MAX_CANDIDATES = 200;
const MAX_CANDIDATE_CHARS = 1_000;

const fingerprint = (description) => /^a=fingerprint:(.+)$/m.exec(description?.sdp ?? "")?.[1].trim();

/** Whether `data` of a direct message is for `RemotePeer.signal` and not for the application. */
export const isSignal = (data) =>
  (data?.type === "rtc-description" &&
    ["offer", "answer"].includes(data.description?.type) &&
    typeof data.description.sdp === "string") ||
  (data?.type === "rtc-ice" && (data.candidate == null || typeof data.candidate === "object"));

/** Events: `track` {track, stream}, `connection` {state}. */
export class RemotePeer extends EventTarget {
  state = "new";
  #options;
  #pc = null;
  #makingOffer = false;
  #ignoreOffer = false;
  #answerPending = false;
  #candidates = 0;
  #inbox = Promise.resolve();
  #answerTimer = 0;
  #recoveryTimer = 0;
  #attempt = 0;

  /** `options`: {id, metadata, polite, iceServers, stream, send(data)}; `stream` may be null: listen only. */
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
      .then(() => (data.type === "rtc-ice" ? this.#onCandidate(data.candidate) : this.#onDescription(data.description)))
      .catch((error) => console.warn("negotiation with", this.id, error));
  }

  /** A new connection in place of the old one, e.g. because our own id is another now. */
  rebuild({ polite, iceServers }) {
    Object.assign(this.#options, { polite, iceServers });
    this.#build();
  }

  /** Messages get through again: what does not work is made anew at once, what works is left alone. */
  resume() {
    if (this.#pc === null || this.#pc.connectionState === "connected") return;
    this.#attempt = 0;
    this.#build();
  }

  close() {
    clearTimeout(this.#answerTimer);
    clearTimeout(this.#recoveryTimer);
    this.#recoveryTimer = 0;
    const pc = this.#pc;
    this.#pc = null;
    pc?.close();
  }

  #build() {
    this.close();
    const { iceServers, stream } = this.#options;
    const pc = new RTCPeerConnection({ iceServers });
    this.#pc = pc;
    this.#makingOffer = this.#ignoreOffer = this.#answerPending = false;
    const ours = (handler) => (event) => pc === this.#pc && handler(event);
    pc.onnegotiationneeded = ours(() => this.#offer());
    pc.onicecandidate = ours(({ candidate }) => this.#send({ type: "rtc-ice", candidate: candidate?.toJSON() ?? null }));
    pc.ontrack = ours(({ track, streams }) =>
      this.#emit("track", { track, stream: streams[0] ?? new MediaStream([track]) }),
    );
    pc.onconnectionstatechange = ours(() => this.#onConnectionState());
    pc.oniceconnectionstatechange = ours(() => pc.iceConnectionState === "failed" && this.#recover());
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
      clearTimeout(this.#answerTimer);
      this.#answerTimer = setTimeout(() => this.#recover(), ANSWER_TIMEOUT_MS);
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
    clearTimeout(this.#answerTimer);
    this.#candidates = 0;
    try {
      this.#answerPending = !isOffer;
      await pc.setRemoteDescription(description);
    } finally {
      this.#answerPending = false;
    }
    if (!isOffer || pc !== this.#pc) return;
    await pc.setLocalDescription(await pc.createAnswer());
    if (pc === this.#pc) this.#sendDescription();
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

  #onConnectionState() {
    this.state = this.#pc.connectionState;
    if (this.state === "connected") {
      this.#attempt = 0;
      clearTimeout(this.#recoveryTimer);
      this.#recoveryTimer = 0;
    }
    this.#emit("connection", { state: this.state });
    // Disconnected means seconds without a sign of the other side: no reason to wait for "failed", which takes
    // a quarter of a minute. Chromium reports that here while its iceConnectionState stays "disconnected".
    if (["disconnected", "failed"].includes(this.state)) this.#recover();
  }

  #recover() {
    if (this.#recoveryTimer || this.#pc === null || this.#attempt >= RECOVERY_DELAYS_MS.length) return;
    const delayMs = RECOVERY_DELAYS_MS[this.#attempt];
    this.#recoveryTimer = setTimeout(() => {
      this.#attempt += 1;
      this.#emit("connection", { state: (this.state = "reconnecting") });
      if (this.#attempt > RESTARTS_BEFORE_REBUILD) this.#build();
      else this.#offer(true);
      this.#recoveryTimer = setTimeout(() => {
        this.#recoveryTimer = 0;
        if (this.#pc && this.#pc.connectionState !== "connected") this.#recover();
      }, RECOVERY_WAIT_MS);
    }, delayMs);
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
