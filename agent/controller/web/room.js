// Who is in the room: keeps one RemotePeer per participant, through joins, leaves and reconnects.

import { RemotePeer, isSignal } from "./peer.js";

const MAX_PEERS = 256;
const EARLY_MS = 2_000;
const MAX_EARLY = 64;
const SNAPSHOT_WAIT_MS = 10_000;
const SNAPSHOT_TRIES = 3;
const ROSTER_WAIT_MS = 1_500;
// Who lost the server is announced as gone, and is back a moment later. While its sound flows it is waited for.
const LINGER_MS = 5_000;
const MAX_FORMER_IDS = 32;

/** Events: `joined` {peer}, `left` {peer}, `track` {peer, stream}, `connection` {peer}, `data` {from, data, metadata}. */
export class Room extends EventTarget {
  peers = new Map();
  #client;
  #stream;
  #selfId = null;
  #formerIds = []; // the server may list who we were for a while
  #lingering = new Map();
  #awaitingSnapshot = false;
  #snapshotTimer = 0;
  #early = [];

  /** `stream` is the microphone's, or null to only listen. */
  constructor(client, name, stream) {
    super();
    this.#client = client;
    this.name = name;
    this.#stream = stream;
    client.addEventListener("connected", ({ detail }) => detail.again && this.#onReconnected());
    client.addEventListener("presence", ({ detail }) => this.#onPresence(detail));
    client.addEventListener("direct", ({ detail }) => this.#onDirect(detail));
    client.addEventListener("message", ({ detail }) => this.#onMessage(detail));
  }

  /** Resolves when it is known who is there already, or that the connection is closed. */
  async join() {
    const roster = new Promise((resolve) => {
      this.#client.addEventListener("presence", ({ detail }) => detail.channel === this.name && resolve());
      this.#client.addEventListener("closed", resolve);
      this.addEventListener("leaving", resolve);
    });
    await this.#client.connect();
    this.#selfId = this.#client.peerId;
    await this.#client.subscribe(this.name);
    // A server need not say that nobody is there.
    await Promise.race([roster, new Promise((resolve) => setTimeout(resolve, ROSTER_WAIT_MS))]);
  }

  publish(data) {
    return this.#client.publish(this.name, data);
  }

  leave() {
    clearTimeout(this.#snapshotTimer);
    this.#client.close();
    this.#emit("leaving");
    for (const id of [...this.peers.keys()]) this.#remove(id);
  }

  #onPresence({ channel, joined, left }) {
    if (channel !== this.name) return;
    const present = new Map(joined.filter(({ peerId }) => typeof peerId === "string").map((m) => [m.peerId, m.metadata]));
    if (this.#awaitingSnapshot) {
      this.#awaitingSnapshot = false;
      clearTimeout(this.#snapshotTimer);
      for (const id of this.peers.keys()) if (!present.has(id)) this.#gone(id);
    } else {
      for (const { peerId } of left) this.#gone(peerId);
    }
    for (const [id, metadata] of present) this.#add(id, metadata);
  }

  #add(id, metadata) {
    const known = this.peers.get(id);
    if (known) {
      known.metadata = metadata;
      this.#stay(id);
    }
    if (known || id === this.#client.peerId || this.#formerIds.includes(id) || this.peers.size >= MAX_PEERS) return;
    const send = (data) => this.#client.send(id, data);
    const isOnline = () => this.#client.state === "connected";
    const peer = new RemotePeer({ id, metadata, stream: this.#stream, ...this.#terms(id), send, isOnline });
    this.peers.set(id, peer);
    peer.addEventListener("track", ({ detail }) => this.#emit("track", { peer, ...detail }));
    peer.addEventListener("hangup", () => this.#lingering.has(id) && this.#remove(id));
    peer.addEventListener("connection", ({ detail }) => {
      if (this.#lingering.has(id) && detail.state !== "connected") return void this.#remove(id);
      // Where the sound is stuck, the way to the server may be dead too.
      if (detail.state === "reconnecting") this.#client.doubt();
      return void this.#emit("connection", { peer });
    });
    this.#emit("joined", { peer });
    const waiting = this.#early.filter((frame) => frame.from === id);
    this.#early = this.#early.filter((frame) => frame.from !== id);
    waiting.forEach((frame) => this.#onDirect(frame));
  }

  #terms(id) {
    return { polite: this.#client.peerId < id, iceServers: this.#client.iceServers };
  }

  #gone(id) {
    const peer = this.peers.get(id);
    if (peer?.state !== "connected" || peer.hungUp) this.#remove(id);
    else if (!this.#lingering.has(id)) this.#lingering.set(id, setTimeout(() => this.#remove(id), LINGER_MS));
  }

  #stay(id) {
    clearTimeout(this.#lingering.get(id));
    this.#lingering.delete(id);
  }

  #remove(id) {
    const peer = this.peers.get(id);
    if (!peer) return;
    this.#stay(id);
    this.peers.delete(id);
    peer.close();
    this.#emit("left", { peer });
  }

  #onDirect(frame) {
    const peer = this.peers.get(frame.from);
    if (peer === undefined) return this.#keepEarly(frame);
    if (isSignal(frame.data)) peer.signal(frame.data);
    else if (!frame.data?.__meteredTrackMeta) this.#emit("data", { from: frame.from, data: frame.data });
    return undefined;
  }

  // Presence and a newcomer's first message are sent by different hands and may change places on the way.
  #keepEarly(frame) {
    if (this.#early.length >= MAX_EARLY) return;
    this.#early.push(frame);
    setTimeout(() => (this.#early = this.#early.filter((other) => other !== frame)), EARLY_MS);
  }

  #onMessage({ channel, from, data }) {
    if (channel === this.name && from !== this.#client.peerId) this.#emit("data", { from, data });
  }

  // Sound that still flows is left alone, unless our id changed: then the others see a stranger in our place.
  #onReconnected() {
    const isNewId = this.#selfId !== this.#client.peerId;
    if (isNewId) this.#formerIds = [...this.#formerIds, this.#selfId].slice(-MAX_FORMER_IDS);
    this.#selfId = this.#client.peerId;
    for (const [id, peer] of this.peers) {
      if (isNewId) peer.rebuild(this.#terms(id));
      else peer.resume(this.#terms(id));
    }
    this.#awaitSnapshot(SNAPSHOT_TRIES);
  }

  #awaitSnapshot(tries) {
    this.#awaitingSnapshot = this.peers.size > 0 && tries > 0;
    clearTimeout(this.#snapshotTimer);
    if (!this.#awaitingSnapshot) return;
    this.#snapshotTimer = setTimeout(() => {
      this.#client.subscribe(this.name).catch(() => {});
      this.#awaitSnapshot(tries - 1);
    }, SNAPSHOT_WAIT_MS);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
