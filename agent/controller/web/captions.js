// The conversation as text: one bubble per utterance, replaced as better text for it arrives.

const MAX_BUBBLES = 300;
const MAX_TEXT = 4_000;
const STEPS = [
  ["endpoint", "End of turn"],
  ["stt", "Recognition"],
  ["llm", "Thinking"],
  ["tts", "Voice"],
  ["playout", "Playout"],
];

const element = (tag, className, text = "") => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
};
const milliseconds = (value) => (value >= 1_000 ? `${(value / 1_000).toFixed(1)} s` : `${Math.round(value)} ms`);

export class Captions {
  entries = [];
  latencies = [];
  #list;
  #announcer;
  #latencyWaiting = null;
  #atEnd = true;

  /** `announcer` is a live region: it gets finished sentences only, so that a screen reader can follow. */
  constructor(list, announcer) {
    this.#list = list;
    this.#announcer = announcer;
    // A notice or a keyboard that opens makes the list shorter: its end is what must stay in sight.
    new ResizeObserver(() => this.#atEnd && this.#toEnd()).observe(list);
    list.addEventListener("scroll", () => (this.#atEnd = this.#isAtEnd()));
  }

  clear() {
    this.entries = [];
    this.latencies = [];
    this.#latencyWaiting = null;
    this.#list.replaceChildren();
    this.#announcer.replaceChildren();
  }

  /** `side`: me, other or agent. The same `key` again replaces what was there. */
  say({ key, side, name, text, final = true, interrupted = false }) {
    const clean = String(text ?? "").slice(0, MAX_TEXT).trim();
    const known = this.entries.find((entry) => entry.key === key) ?? this.#adoptTyped(key, side, clean, final);
    if (!known && !clean) return;
    const entry = known ?? this.#add({ key, side, name });
    // What was shown of a reply but never heard stays readable, crossed out.
    const cut = interrupted && entry.text?.startsWith(clean) ? entry.text.slice(clean.length) : "";
    const wasFinal = entry.final;
    Object.assign(entry, { text: clean, final, interrupted });
    this.#paint(entry, interrupted ? cut || entry.unheard || "" : "");
    if (final && !wasFinal && clean) this.#announce(`${entry.name}: ${clean}`);
  }

  /** What was typed is shown at once; the agent's own caption of it then takes the bubble over. */
  typed({ side, name, text }) {
    this.say({ key: `typed-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`, side, name, text });
    this.entries.at(-1).typed = true;
  }

  /** Nobody will finish what is unfinished now. */
  settle() {
    for (const { key, text, final } of this.entries) if (!final) this.say({ key, text });
  }

  note(text) {
    this.#keepInView(() => this.#list.append(element("li", "note", text)));
    this.#announce(text);
  }

  /** Belongs to the reply being given: to its bubble if that is there already, else to the next. */
  latency({ total_ms: total, steps_ms: steps = {} }) {
    if (!Number.isFinite(total)) return;
    const measured = { total_ms: total, steps_ms: steps };
    this.latencies.push(measured);
    const last = this.entries.findLast((entry) => entry.side === "agent" && !entry.latency);
    const answered = last && !this.entries.slice(this.entries.indexOf(last)).some((entry) => entry.side !== "agent" && entry.final);
    if (answered) this.#attach(last, measured);
    else this.#latencyWaiting = measured;
  }

  #adoptTyped(key, side, text, final) {
    const entry = final ? this.entries.findLast((other) => other.typed && other.side === side && other.text === text) : undefined;
    if (entry) Object.assign(entry, { key, typed: false });
    return entry;
  }

  #add({ key, side, name }) {
    const item = element("li", `bubble ${side}`);
    const entry = { key, side, name, item, body: element("p", "words"), text: "", final: false };
    item.append(element("span", "who", name), entry.body);
    this.entries.push(entry);
    if (this.entries.length > MAX_BUBBLES) this.entries.shift().item.remove();
    this.#keepInView(() => this.#list.append(item));
    if (side === "agent" && this.#latencyWaiting) {
      this.#attach(entry, this.#latencyWaiting);
      this.#latencyWaiting = null;
    }
    return entry;
  }

  #paint(entry, unheard) {
    const { item, body, text, final, interrupted } = entry;
    entry.unheard = unheard;
    this.#keepInView(() => {
      item.classList.toggle("partial", !final);
      item.classList.toggle("interrupted", interrupted);
      body.replaceChildren(text);
      if (interrupted) body.append(element("span", "cut", "cut off"), element("s", "unheard", unheard));
    });
  }

  #attach(entry, { total_ms: total, steps_ms: steps }) {
    entry.latency = true;
    const chip = element("button", "chip", milliseconds(total));
    chip.type = "button";
    chip.title = "From the end of your words to the first sound of the answer";
    chip.setAttribute("aria-expanded", "false");
    const detail = element("div", "breakdown");
    const bar = element("div", "bar");
    const legend = element("ul", "legend");
    const known = STEPS.filter(([step]) => steps[step] > 0);
    for (const [step, label] of known) {
      const part = element("span", `part ${step}`);
      part.style.flexGrow = String(steps[step]);
      bar.append(part);
      const line = element("li", step, label);
      line.append(element("b", "", milliseconds(steps[step])));
      legend.append(line);
    }
    detail.append(bar, legend);
    const holder = element("div", "latency");
    holder.append(chip);
    if (known.length > 0) holder.append(detail);
    chip.addEventListener("click", () => {
      const open = holder.classList.toggle("open");
      chip.setAttribute("aria-expanded", String(open));
      if (open) detail.scrollIntoView({ block: "nearest" });
    });
    this.#keepInView(() => entry.item.append(holder));
  }

  // Follows the conversation only while the reader is at its end.
  #keepInView(change) {
    const atEnd = this.#isAtEnd();
    change();
    if (atEnd) this.#toEnd();
  }

  #isAtEnd() {
    return this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
  }

  #toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #announce(text) {
    this.#announcer.append(element("p", "", text));
    while (this.#announcer.childElementCount > 5) this.#announcer.firstChild.remove();
  }
}
