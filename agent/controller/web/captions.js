// The conversation as text: one bubble per utterance, replaced as better text for it arrives.

import { element } from "./dom.js";
import { latencyChip } from "./latency.js";

const MAX_BUBBLES = 300;
const MAX_TEXT = 4_000;

export class Captions {
  entries = [];
  latencies = [];
  #list;
  #announcer;
  #latencyWaiting = null;
  #atEnd = true;
  #typed = 0;

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
    const known = this.entries.find((entry) => entry.key === key);
    if (!known && !clean) return;
    const entry = known ?? this.#add({ key, side, name });
    // What was shown of a reply but never heard stays readable, crossed out.
    const cut = interrupted && entry.text?.startsWith(clean) ? entry.text.slice(clean.length) : "";
    const wasFinal = entry.final;
    Object.assign(entry, { text: clean, final, interrupted });
    this.#paint(entry, interrupted ? cut || entry.unheard || "" : "");
    if (final && !wasFinal && clean) this.#announce(`${entry.name}: ${clean}`);
  }

  /** No caption will follow: what was typed is what was meant. */
  typed({ side, name, text }) {
    this.#typed += 1;
    this.say({ key: `typed/${this.#typed}`, side, name, text });
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
      if (interrupted) body.append(element("span", "cut", "cut off"), element("s", "unheard", unheard.trimStart()));
    });
  }

  #attach(entry, measured) {
    entry.latency = true;
    this.#keepInView(() => entry.item.append(latencyChip(measured)));
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
