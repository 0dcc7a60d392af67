// Puts the parts together: a click becomes a call, and what happens in the call is shown.

import { about, ApiError, apiKey } from "./api.js";
import { loudness } from "./audio-level.js";
import { Call } from "./call.js";
import { Captions } from "./captions.js";
import { Orb } from "./orb.js";
import * as ui from "./ui.js";

const BANDS = 24;
const MAX_WARNINGS = 20;

const { elements } = ui;
const call = new Call();
const captions = new Captions(elements.captions, elements.announcer);
const warned = new Set();
let agentName = "Agent";
let lastProblem = null;

const orb = new Orb(elements.orb, () => {
  const mic = loudness(call.stats.micRms);
  ui.showMic(mic);
  return { agent: loudness(call.stats.agentRms), mic, bands: call.micBands(BANDS) };
});

async function learnAbout() {
  try {
    const { engines, personas, version } = await about();
    ui.showEngines(engines, version);
    ui.showPersonas(personas);
  } catch (error) {
    if (error.status !== 401) console.info("about:", error.message);
    else if (await askForKey()) await learnAbout();
  }
}

async function askForKey() {
  apiKey.forget();
  const key = await ui.askForKey();
  if (key) apiKey.set(key);
  return key;
}

function start(options) {
  ui.hideNotice();
  lastProblem = null;
  const request = { room: elements.room.value.trim() };
  if (elements.persona.value) request.persona = elements.persona.value;
  captions.clear();
  warned.clear();
  return call.start(request, options);
}

async function onProblem({ problem, cause }) {
  lastProblem = problem;
  if (problem.code === "agent-left" || call.phase === "idle") captions.settle();
  if (cause instanceof ApiError && cause.status === 401) {
    if (await askForKey()) await start();
    return;
  }
  const actions = [];
  if (problem.code.startsWith("microphone-") || problem.code === "insecure") {
    actions.push(["Join without a microphone", () => start({ listenOnly: true })]);
  } else if (problem.code === "agent-left") {
    actions.push(["Bring it back", () => call.inviteAgain()], ["Hang up", () => call.hangUp()]);
  }
  ui.showNotice(problem, actions);
}

function onSaid({ from, data, name }) {
  const person = { side: "other", name: name || "Another caller" };
  switch (data.type) {
    case "agent.hello":
      if (typeof data.name === "string" && data.name) agentName = data.name.slice(0, 60);
      ui.showEngines(data.engines);
      if (Array.isArray(data.warnings)) data.warnings.slice(0, MAX_WARNINGS).forEach((warning) => warnOnce(String(warning)));
      break;
    case "agent.caption":
      showCaption(from, data, person);
      break;
    case "agent.latency":
      captions.latency(data);
      break;
    case "agent.error":
      captions.note(String(data.message));
      break;
    case "chat":
      if (typeof data.text === "string") captions.typed({ ...person, text: data.text });
      break;
    default: // agents of later versions may say more
  }
}

// An agent introduces itself anew whenever we come back to the room; what it warned of then is known.
function warnOnce(warning) {
  if (warned.has(warning) || warned.size >= MAX_WARNINGS) return;
  warned.add(warning);
  captions.note(warning);
}

function showCaption(from, { speaker, peer, id, text, final, interrupted }, person) {
  const callerName = call.room?.peers.get(peer)?.metadata?.name;
  const speakers = {
    agent: { side: "agent", name: agentName },
    caller: peer === call.peerId ? { side: "me", name: "You" } : { ...person, name: callerName || "Another caller" },
  };
  const who = speakers[speaker];
  if (who) captions.say({ ...who, key: `${from}/${speaker}/${id}`, text, final: final === true, interrupted: interrupted === true });
}

async function send(text) {
  elements.text.value = "";
  captions.typed({ side: "me", name: "You", text });
  try {
    await call.say(text);
  } catch {
    captions.note("That was not delivered: the connection is down.");
  }
}

call.addEventListener("change", () => {
  ui.showCall(call);
  orb.mood = ui.moodOf(ui.stateOf(call));
});
call.addEventListener("problem", ({ detail }) => onProblem(detail));
call.addEventListener("said", ({ detail }) => onSaid(detail));
call.addEventListener("blocked", ({ detail }) =>
  ui.showNotice({ code: "sound-blocked", title: "Your browser keeps the sound off", advice: ["One press switches it on."] }, [
    ["Switch the sound on", () => detail.play()],
  ]),
);

elements.lobby.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
elements.chat.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = elements.text.value.trim();
  if (text) send(text);
});
elements.hangup.addEventListener("click", () => {
  ui.hideNotice();
  call.hangUp();
  captions.settle();
  elements.call.focus();
});
elements.mute.addEventListener("click", () => call.setMuted(!call.muted));
addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  const typing = target.matches?.("input, select, textarea");
  const plain = !ctrlKey && !metaKey && !altKey;
  if (key.toLowerCase() === "m" && plain && !typing && call.phase === "live" && !call.listenOnly) call.setMuted(!call.muted);
});
addEventListener("pagehide", () => call.hangUp());

// What a test or a curious person may read from outside.
window.voiceAgent = {
  get phase() { return call.phase; },
  get state() { return ui.stateOf(call); },
  get network() { return call.network; },
  get peerId() { return call.peerId; },
  get agentPeer() { return call.agentPeer; },
  get problem() { return lastProblem?.code ?? null; },
  get stats() { return { ...call.stats }; },
  get peers() {
    return call.peers.map((peer) => ({ id: peer.id, state: peer.state, isAgent: peer.id === call.agentPeer }));
  },
  get captions() {
    return captions.entries.map(({ key, side, name, text, final, interrupted }) => ({ key, side, name, text, final, interrupted }));
  },
  get latencies() { return [...captions.latencies]; },
  /** Sound packets received so far, over all peers. */
  async packetsReceived() {
    const reports = await Promise.all(call.peers.map((peer) => peer.connection.getStats()));
    const inbound = reports.flatMap((report) => [...report.values()].filter(({ type }) => type === "inbound-rtp"));
    return inbound.reduce((sum, { packetsReceived = 0 }) => sum + packetsReceived, 0);
  },
};

const wanted = new URLSearchParams(location.search).get("room");
if (wanted) elements.room.value = wanted.slice(0, 128);
ui.showCall(call);
learnAbout();
