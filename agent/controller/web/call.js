// One call: microphone, room, agent. Holds what is going on; knows nothing of how it is shown.

import { inviteAgent, roomAccess } from "./api.js";
import { LevelMeter } from "./audio-level.js";
import * as problems from "./problems.js";
import { Room } from "./room.js";
import { RoomClient } from "./signalling.js";

const AGENT_STREAM = "agent-voice";
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const METER_MS = 50;
const SOUND_WAIT_MS = 15_000;
const AUDIBLE_RMS = 0.003;
const MAX_HELD = 32;

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

/**
 * `phase`: idle → microphone → connecting → (inviting, where no agent is) → live → idle. While live, `network` (connected or
 * reconnecting) and `agentState` (joining, listening, thinking, speaking, or null when it is gone) say more.
 * Events: `change`; `problem` {problem}; `said` {from, data, name}: whatever an agent or a caller told the room.
 */
export class Call extends EventTarget {
  phase = "idle";
  network = "idle";
  agentState = null;
  agentPeer = null;
  muted = false;
  room = null;
  stats = { agentRms: 0, agentPeakRms: 0, agentAudibleMs: 0, micRms: 0 };
  #client = null;
  #stream = null;
  #context = null;
  #micMeter = null;
  #voices = new Map();
  #timer = 0;
  #soundTimer = 0;
  #held = [];
  #request = null;

  get peerId() {
    return this.#client?.peerId ?? null;
  }

  get listenOnly() {
    return this.phase !== "idle" && this.#stream === null;
  }

  get peers() {
    return [...(this.room?.peers.values() ?? [])];
  }

  /** Whether there was sound from the agent's end, and its connection is gone for now. */
  get agentLost() {
    const peer = this.room?.peers.get(this.agentPeer);
    return Boolean(peer?.wasConnected && peer.state !== "connected");
  }

  micBands(count) {
    return this.#micMeter && !this.muted ? this.#micMeter.bands(count) : null;
  }

  agentBands(count) {
    return this.#voices.get(this.agentPeer)?.meter.bands(count) ?? null;
  }

  /** Must be called from a click, or browsers keep the sound off. `request` is the body of POST /agents. */
  async start(request, { listenOnly = false } = {}) {
    if (this.phase !== "idle") return;
    this.#request = request;
    const context = (this.#context = new AudioContext());
    const over = () => this.phase === "idle" || this.#context !== context; // hung up, maybe called again since
    try {
      this.#enter("microphone");
      const stream = listenOnly ? null : await this.#openMicrophone();
      if (over()) return stop(stream);
      this.#stream = stream;
      if (stream) this.#micMeter = new LevelMeter(context, stream);
      this.#enter("connecting");
      await this.#joinRoom(request.room);
      if (over()) return;
      // One agent is enough, whoever brought it: two would talk over one another.
      if (this.agentPeer === null) {
        this.#enter("inviting");
        await this.#invite();
        if (over()) return;
      }
      this.#enter("live");
    } catch (error) {
      if (over()) return;
      this.hangUp();
      this.#emit("problem", { problem: error.problem ?? problems.fromError(error), cause: error });
    }
  }

  /** Brings an agent that left back into the room. */
  async inviteAgain() {
    try {
      await this.#invite();
      this.#emit("change");
    } catch (error) {
      this.#emit("problem", { problem: problems.fromError(error), cause: error });
    }
  }

  hangUp() {
    if (this.phase === "idle") return;
    this.phase = "idle"; // first of all: what ends from here on was not taken from us
    clearInterval(this.#timer);
    clearTimeout(this.#soundTimer);
    this.room?.leave();
    for (const id of [...this.#voices.keys()]) this.#silence(id);
    this.#dropMicrophone();
    this.#context.close();
    this.#client = this.room = this.#micMeter = this.agentPeer = this.agentState = null;
    this.network = "idle";
    this.muted = false;
    this.#held = [];
    Object.assign(this.stats, { agentRms: 0, micRms: 0 });
    this.#enter("idle");
  }

  setMuted(muted) {
    this.muted = muted;
    for (const track of this.#stream?.getTracks() ?? []) track.enabled = !muted;
    this.#emit("change");
  }

  say(text) {
    return this.room.publish({ type: "chat", text });
  }

  async #openMicrophone() {
    if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error("insecure"), { problem: problems.insecure() });
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: MICROPHONE });
    } catch (error) {
      throw Object.assign(error, { problem: problems.microphone(error) });
    }
  }

  #dropMicrophone() {
    this.#micMeter?.close();
    stop(this.#stream);
    this.#stream = null;
  }

  async #joinRoom(name) {
    let access = null;
    // The same token again keeps our place, and with it the sound, through a short loss of the server.
    this.#client = new RoomClient(async (fresh) => (access = (!fresh && access) || (await roomAccess(name))));
    this.#client.addEventListener("state", ({ detail }) => this.#onNetwork(detail.state));
    this.#client.addEventListener("closed", ({ detail }) => this.#end(problems.roomLost(detail.code)));
    this.room = new Room(this.#client, name, this.#stream);
    this.room.addEventListener("joined", ({ detail }) => this.#onJoined(detail.peer));
    this.room.addEventListener("left", ({ detail }) => this.#onLeft(detail.peer));
    this.room.addEventListener("track", ({ detail }) => this.#onTrack(detail));
    this.room.addEventListener("connection", () => this.#emit("change"));
    this.room.addEventListener("data", ({ detail }) => this.#onData(detail));
    await this.room.join();
    this.#timer = setInterval(() => this.#measure(), METER_MS);
  }

  async #invite() {
    const { room } = this;
    const agent = await inviteAgent(this.#request);
    if (this.room === room && agent.peer_id) this.#meet(agent.peer_id, agent.state);
  }

  #meet(peerId, state) {
    if (this.agentPeer === peerId && this.agentState !== null) return;
    this.agentPeer = peerId;
    this.agentState = state;
    clearTimeout(this.#soundTimer);
    this.#soundTimer = setTimeout(() => {
      if (!this.#voices.has(peerId) && this.room?.peers.has(peerId)) this.#emit("problem", { problem: problems.noSound() });
    }, SOUND_WAIT_MS);
    const held = this.#held;
    this.#held = [];
    held.forEach((message) => this.#onData(message));
    this.#emit("change");
  }

  #onJoined(peer) {
    // Who may speak as an agent is said by the server that let it in, never by a message in the room.
    if (peer.metadata?.role === "agent" && this.agentPeer === null) this.#meet(peer.id, "joining");
    this.#emit("change");
  }

  #onLeft(peer) {
    this.#silence(peer.id);
    if (peer.id === this.agentPeer) {
      clearTimeout(this.#soundTimer);
      this.agentPeer = this.agentState = null;
      if (this.phase === "live") this.#emit("problem", { problem: problems.agentLeft() });
    }
    this.#emit("change");
  }

  #onNetwork(state) {
    this.network = state;
    this.#emit("change");
  }

  #onData({ from, data }) {
    if (typeof data?.type !== "string") return;
    if (data.type.startsWith("agent.") && from !== this.agentPeer) {
      if (this.agentPeer === null && this.#held.length < MAX_HELD) this.#held.push({ from, data });
      return;
    }
    if (["agent.state", "agent.hello"].includes(data.type) && typeof data.state === "string") this.agentState = data.state;
    this.#emit("said", { from, data, name: this.room.peers.get(from)?.metadata?.name });
    this.#emit("change");
  }

  #onTrack({ peer, stream }) {
    this.#silence(peer.id);
    const audio = new Audio();
    audio.autoplay = true;
    audio.srcObject = stream;
    audio.play().catch(() => this.#emit("blocked", { play: () => audio.play() }));
    this.#voices.set(peer.id, { audio, stream, meter: new LevelMeter(this.#context, stream) });
    if (stream.id === AGENT_STREAM && this.agentPeer === null && peer.metadata?.role === "agent") this.#meet(peer.id, "joining");
    this.#emit("change");
  }

  #silence(peerId) {
    const voice = this.#voices.get(peerId);
    if (!voice) return;
    this.#voices.delete(peerId);
    voice.meter.close();
    voice.audio.srcObject = null;
  }

  #measure() {
    const { stats } = this;
    stats.audio = this.#context.state;
    stats.micRms = this.#micMeter && !this.muted ? this.#micMeter.rms() : 0;
    stats.agentRms = this.#voices.get(this.agentPeer)?.meter.rms() ?? 0;
    stats.agentPeakRms = Math.max(stats.agentPeakRms, stats.agentRms);
    if (stats.agentRms > AUDIBLE_RMS) stats.agentAudibleMs += METER_MS;
    stats.voices = Object.fromEntries([...this.#voices].map(([id, { meter }]) => [id, meter.rms()]));
  }

  #end(problem) {
    this.hangUp();
    this.#emit("problem", { problem });
  }

  #enter(phase) {
    this.phase = phase;
    this.#emit("change");
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
