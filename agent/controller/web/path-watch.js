// Whether anything still arrives on a connection. Browsers take 6 s to doubt a dead path and 17 s to give it up.

const TICK_MS = 1_000;
// Ticks are counted, not seconds: a page that was held up must not take its own pause for the other's silence.
const LOST_AFTER_TICKS = 4;
const COUNTED = { "candidate-pair": ["bytesReceived", "responsesReceived", "requestsReceived"], "inbound-rtp": ["packetsReceived"] };

const arrivals = (report) => {
  let sum = 0;
  for (const entry of report.values()) for (const name of COUNTED[entry.type] ?? []) sum += entry[name] ?? 0;
  return sum;
};

/** Watches `pc` until `stop`. While nothing arrives `lost` is called every second, and `back` when something does. */
export class PathWatch {
  #heard = 0;
  #silentTicks = 0;

  constructor(pc, { lost, back }) {
    this.timer = setInterval(async () => {
      if (pc.connectionState === "new" || pc.connectionState === "connecting") return;
      const heard = arrivals(await pc.getStats());
      const arrived = heard > this.#heard && pc.connectionState === "connected";
      this.#heard = heard;
      this.#silentTicks = arrived ? 0 : this.#silentTicks + 1;
      if (pc.connectionState === "closed") return;
      if (arrived) back();
      else if (this.#silentTicks >= LOST_AFTER_TICKS) lost();
    }, TICK_MS);
  }

  stop() {
    clearInterval(this.timer);
  }
}
