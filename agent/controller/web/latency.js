// How long an answer was in coming, and at a closer look what that time went into.

import { element } from "./dom.js";

const LABELS = new Map([
  ["pause_ms", "Noticing your pause"],
  ["stt_ms", "Recognising your words"],
  ["llm_ms", "Thinking of an answer"],
  ["tts_ms", "Making the voice"],
  ["endpoint_ms", "Waiting for the end of your turn"],
  ["playout_ms", "Starting to play"],
]);
const MAX_STEPS = 12;
const MAX_NAME = 40;

function milliseconds(value) {
  const rounded = Math.round(value);
  return rounded >= 1_000 ? `${(rounded / 1_000).toFixed(1)} s` : `${rounded} ms`;
}

// Steps of a later version's agent follow the known ones, under their own names.
function inOrder(steps) {
  const unknown = Object.keys(steps).filter((name) => !LABELS.has(name));
  const worthShowing = [...LABELS.keys(), ...unknown].filter((name) => Number.isFinite(steps[name]) && steps[name] >= 0.5);
  return worthShowing.slice(0, MAX_STEPS);
}

function breakdown(steps) {
  const bar = element("div", "bar");
  const legend = element("ul", "legend");
  for (const name of inOrder(steps)) {
    const part = element("span", "part");
    part.style.flexGrow = String(steps[name]);
    const line = element("li", "", LABELS.get(name) ?? name.slice(0, MAX_NAME));
    line.append(element("b", "", milliseconds(steps[name])));
    part.dataset.step = line.dataset.step = name.slice(0, MAX_NAME);
    bar.append(part);
    legend.append(line);
  }
  const detail = element("div", "breakdown");
  detail.append(element("p", "", "From your last word to my first"), bar, legend);
  return legend.childElementCount > 0 ? detail : null;
}

/** A chip with the total. Its parts open over the captions at hover and focus; pressed, among them. */
export function latencyChip({ total_ms: total, steps_ms: steps }) {
  const holder = element("div", "latency");
  const chip = element("button", "chip", milliseconds(total));
  chip.type = "button";
  chip.setAttribute("aria-label", `Answered after ${milliseconds(total)}`);
  holder.append(chip);
  const detail = breakdown(steps ?? {});
  if (detail) {
    chip.setAttribute("aria-expanded", "false");
    holder.append(detail);
    openOnInterest(holder, chip, detail);
  }
  return holder;
}

function openOnInterest(holder, chip, detail) {
  const reasons = new Set();
  const because = (reason, holds) => {
    reasons[holds ? "add" : "delete"](reason);
    const open = reasons.size > 0;
    if (open && !holder.classList.contains("open")) place(holder, detail);
    holder.classList.toggle("open", open);
    chip.setAttribute("aria-expanded", String(open));
    if (reason !== "pressed") return;
    holder.classList.toggle("pressed", holds);
    if (holds) detail.scrollIntoView({ block: "nearest" });
    document[holds ? "addEventListener" : "removeEventListener"]("pointerdown", pressedElsewhere);
  };
  const pressedElsewhere = ({ target }) => holder.contains(target) || because("pressed", false);
  // A finger that touches also "enters"; its tap is a press already.
  holder.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && because("hovered", true));
  holder.addEventListener("pointerleave", () => because("hovered", false));
  chip.addEventListener("focus", () => chip.matches(":focus-visible") && because("focused", true));
  chip.addEventListener("blur", () => because("focused", false));
  const close = () => [...reasons].forEach((reason) => because(reason, false));
  chip.addEventListener("click", () => (reasons.has("pressed") ? close() : because("pressed", true)));
  holder.addEventListener("keydown", ({ key }) => key === "Escape" && close());
}

// Never scrolls: what the pointer is on would move away from under it.
function place(holder, detail) {
  holder.classList.add("open");
  const list = holder.closest("#captions").getBoundingClientRect();
  const chip = holder.getBoundingClientRect();
  const below = list.bottom - chip.bottom;
  holder.classList.toggle("above", below < detail.offsetHeight + 12 && below < chip.top - list.top);
}
