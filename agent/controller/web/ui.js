// The page's elements, and what they show for a state of the call. Text goes in as text, never as HTML.

const byId = (id) => document.getElementById(id);

const STATES = {
  idle: ["Ready when you are", "Press Call, and just talk."],
  microphone: ["May I listen?", "Your browser is asking for the microphone."],
  connecting: ["Connecting…", "Entering the room."],
  inviting: ["Connecting…", "Calling the agent."],
  joining: ["Almost there…", "The agent is coming in."],
  listening: ["Listening", "Go ahead, I can hear you."],
  muted: ["You are muted", "The agent cannot hear you."],
  reading: ["Listening", "Type below: your microphone is off."],
  thinking: ["Thinking…", ""],
  speaking: ["Speaking", "Just talk to interrupt."],
  leaving: ["Saying goodbye…", ""],
  reconnecting: ["Reconnecting…", "The room server is out of reach; trying again."],
  unheard: ["Reconnecting…", "The way to the agent is lost; looking for another."],
  gone: ["The agent is gone", ""],
};
const MOODS = { microphone: "connecting", inviting: "connecting", joining: "connecting", reconnecting: "connecting", unheard: "connecting", muted: "idle", reading: "listening", gone: "idle" };
const KINDS = { stt: "Hears with", llm: "Thinks with", tts: "Speaks with" };

export const elements = Object.fromEntries(
  [
    ...["orb", "state", "hint", "lobby", "room", "persona", "call", "controls", "mute", "mic", "hangup", "notice", "connection"],
    ...["captions", "announcer", "chat", "text", "send", "engines", "key"],
  ].map((id) => [id, byId(id)]),
);

/** One word for what the person should know first. */
export function stateOf(call) {
  if (call.phase !== "live") return call.phase;
  if (call.network === "reconnecting") return "reconnecting";
  if (call.agentState === null) return "gone";
  if (call.agentLost) return "unheard";
  if (call.agentState === "listening" && call.muted) return "muted";
  if (call.agentState === "listening" && call.listenOnly) return "reading";
  return STATES[call.agentState] ? call.agentState : "gone";
}

export const moodOf = (state) => MOODS[state] ?? state;

export function showCall(call) {
  const state = stateOf(call);
  const [title, hint] = STATES[state];
  if (elements.state.textContent !== title) elements.state.textContent = title;
  elements.state.dataset.state = state;
  elements.hint.textContent = hint;
  document.body.dataset.phase = call.phase;
  const busy = call.phase !== "idle";
  if (call.phase === "live") document.body.classList.add("talked");
  elements.lobby.hidden = busy;
  elements.controls.hidden = !busy;
  elements.mute.parentElement.hidden = call.listenOnly && call.phase !== "microphone";
  elements.mute.setAttribute("aria-pressed", String(call.muted));
  byId("mute-label").textContent = call.muted ? "Muted" : "Mute";
  const reachable = call.phase === "live" && call.network === "connected" && call.agentState !== null;
  elements.text.disabled = elements.send.disabled = !reachable;
  showConnection(call);
}

function showConnection({ phase, network, room, peers, agentPeer }) {
  const { connection } = elements;
  connection.hidden = phase === "idle";
  connection.dataset.connection = network;
  const others = peers.filter((peer) => peer.id !== agentPeer).length;
  const company = others > 0 ? ` · ${others} other${others > 1 ? "s" : ""}` : "";
  const words = { connected: room ? `${room.name}${company}` : "", reconnecting: "Reconnecting…" };
  connection.textContent = words[network] ?? "Connecting…";
}

export function showMic(level) {
  const percent = Math.round(level * 100);
  elements.mic.setAttribute("aria-valuenow", String(percent));
  elements.mic.style.setProperty("--level", `${percent}%`);
}

/** `problem`: {code, title, advice}; `actions`: [label, function] pairs, the first is the proposed one. */
export function showNotice(problem, actions = []) {
  const { notice } = elements;
  notice.dataset.code = problem.code;
  notice.querySelector("h2").textContent = problem.title;
  const lines = problem.advice.map((text) => Object.assign(document.createElement("p"), { textContent: text }));
  notice.querySelector(".advice").replaceChildren(...lines);
  const buttons = actions.map(([label, act], n) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = n === 0 ? "primary" : "";
    button.textContent = label;
    button.addEventListener("click", () => {
      hideNotice();
      act();
    });
    return button;
  });
  notice.querySelector(".actions").replaceChildren(...buttons);
  notice.hidden = false;
}

export const hideNotice = () => (elements.notice.hidden = true);
byId("notice-close").addEventListener("click", hideNotice);

export function showEngines(engines, version) {
  if (!Array.isArray(engines) || engines.length === 0) return;
  byId("engines-short").textContent = engines.map(({ engine }) => engine).join(" · ");
  const items = engines.map(({ kind, engine, model, reason }) => {
    const item = document.createElement("li");
    const parts = [
      ["span", "kind", KINDS[kind] ?? kind],
      ["b", "", [engine, model].filter(Boolean).join(" — ")],
      ["p", "", reason ?? ""],
    ];
    item.append(...parts.map(([tag, className, textContent]) => Object.assign(document.createElement(tag), { className, textContent })));
    return item;
  });
  byId("engine-list").replaceChildren(...items);
  if (version) byId("version").textContent = `voice-agent ${version}`;
  elements.engines.hidden = false;
}

export function showPersonas(personas) {
  const options = personas.map(({ name, description }) =>
    Object.assign(document.createElement("option"), { value: name, textContent: name, title: description ?? "" }),
  );
  elements.persona.replaceChildren(...options);
  byId("persona-field").hidden = personas.length < 2;
}

/** Resolves to the key a person typed, or null. */
export function askForKey() {
  const dialog = byId("key-dialog");
  elements.key.value = "";
  byId("key-cancel").onclick = () => dialog.close("");
  byId("key-form").onsubmit = () => dialog.close("given");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "given" ? elements.key.value.trim() : null);
  });
}
