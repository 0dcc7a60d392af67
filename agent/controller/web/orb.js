// The face of the agent: a soft body moved by the sound of its voice, in a ring moved by the caller's.

const POINTS = 72;
const TICKS = 96;
const TURN = Math.PI * 2;
// Per mood: how lively the body is, how fast it turns, how bright it glows, how visible the ring is.
const MOODS = {
  idle: { wobble: 0.03, speed: 0.25, glow: 0.45, ring: 0.0, size: 0.92, swirl: 0 },
  connecting: { wobble: 0.04, speed: 0.7, glow: 0.5, ring: 0.25, size: 0.9, swirl: 0.6 },
  listening: { wobble: 0.04, speed: 0.4, glow: 0.6, ring: 1, size: 0.94, swirl: 0 },
  thinking: { wobble: 0.07, speed: 1.4, glow: 0.65, ring: 0.35, size: 0.88, swirl: 1 },
  speaking: { wobble: 0.06, speed: 0.8, glow: 0.9, ring: 0.3, size: 1, swirl: 0 },
};

const approach = (from, to, rate) => from + (to - from) * rate;

export class Orb {
  #canvas;
  #paint;
  #mood = { ...MOODS.idle };
  #target = MOODS.idle;
  #phase = 0;
  #agent = 0;
  #mic = 0;
  #ticks = new Float32Array(TICKS);
  #colours = [];
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #read;

  /** `read()` gives {agent, mic}: loudness 0–1, and {bands}: the microphone's spectrum, or null. */
  constructor(canvas, read) {
    this.#canvas = canvas;
    this.#paint = canvas.getContext("2d");
    this.#read = read;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColours());
    this.#readColours();
    let last = performance.now();
    const frame = (now) => {
      this.#step(Math.min(0.05, (now - last) / 1_000));
      last = now;
      this.#draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  set mood(name) {
    this.#target = MOODS[name] ?? MOODS.idle;
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    this.#colours = ["--orb-1", "--orb-2", "--orb-3", "--orb-ring"].map((name) => style.getPropertyValue(name).trim());
  }

  #resize() {
    const scale = Math.min(devicePixelRatio || 1, 2);
    this.#canvas.width = this.#canvas.height = Math.round(this.#canvas.clientWidth * scale);
  }

  #step(seconds) {
    const { agent, mic, bands } = this.#read();
    for (const key of Object.keys(this.#mood)) this.#mood[key] = approach(this.#mood[key], this.#target[key], Math.min(1, seconds * 5));
    // Up fast, down slowly: the way an ear follows sound.
    this.#agent = approach(this.#agent, agent, agent > this.#agent ? 0.5 : 0.12);
    this.#mic = approach(this.#mic, mic, mic > this.#mic ? 0.5 : 0.12);
    for (let n = 0; n < TICKS; n += 1) {
      const mirrored = n < TICKS / 2 ? n : TICKS - 1 - n;
      const band = bands ? bands[Math.floor((mirrored / (TICKS / 2)) * bands.length)] * (0.25 + this.#mic) : 0;
      this.#ticks[n] = approach(this.#ticks[n], band, band > this.#ticks[n] ? 0.5 : 0.15);
    }
    if (!this.#still.matches) this.#phase += seconds * this.#mood.speed * (1 + this.#agent);
  }

  #draw() {
    const { width } = this.#canvas;
    if (width === 0) return;
    const paint = this.#paint;
    const radius = width * 0.285 * (this.#mood.size + 0.16 * this.#agent);
    paint.setTransform(1, 0, 0, 1, 0, 0);
    paint.clearRect(0, 0, width, width);
    paint.translate(width / 2, width / 2);
    this.#halo(radius, width);
    [2, 1, 0].forEach((layer) => this.#body(radius, layer));
    this.#shine(radius);
    this.#waves(radius);
    this.#ring(width);
    if (this.#mood.swirl > 0.02) this.#swirl(radius);
  }

  #halo(radius, width) {
    const paint = this.#paint;
    const halo = paint.createRadialGradient(0, 0, radius * 0.5, 0, 0, width / 2);
    // Fading to the same hue: "transparent" is black, and would cast a shadow.
    halo.addColorStop(0, this.#colours[0]);
    halo.addColorStop(0.45, `${this.#colours[1]}44`);
    halo.addColorStop(1, `${this.#colours[1]}00`);
    paint.globalAlpha = Math.min(1, 0.5 * this.#mood.glow + 0.5 * this.#agent);
    paint.fillStyle = halo;
    paint.fillRect(-width / 2, -width / 2, width, width);
    paint.globalAlpha = 1;
  }

  #body(radius, layer) {
    const paint = this.#paint;
    const t = this.#phase * (1 + layer * 0.35) + layer * 2.1;
    const wobble = this.#mood.wobble * (1 + layer * 0.5) + this.#agent * 0.11;
    paint.beginPath();
    for (let n = 0; n <= POINTS; n += 1) {
      const angle = (n / POINTS) * TURN;
      const wave = Math.sin(angle * 2 + t) * 0.5 + Math.sin(angle * 3 - t * 1.3) * 0.35 + Math.sin(angle * 5 + t * 1.9) * 0.3 * this.#agent;
      const r = radius * (1 + layer * 0.07 + wobble * wave);
      paint.lineTo(Math.cos(angle) * r, Math.sin(angle) * r);
    }
    paint.closePath();
    const turn = t * 0.5;
    const fill = paint.createLinearGradient(Math.cos(turn) * radius, Math.sin(turn) * radius, -Math.cos(turn) * radius, -Math.sin(turn) * radius);
    fill.addColorStop(0, this.#colours[layer % 3]);
    fill.addColorStop(1, this.#colours[(layer + 1) % 3]);
    paint.globalAlpha = layer === 0 ? 0.95 : 0.42 - layer * 0.11;
    paint.fillStyle = fill;
    paint.fill();
    paint.globalAlpha = 1;
  }

  #shine(radius) {
    const paint = this.#paint;
    const shine = paint.createRadialGradient(-radius * 0.35, -radius * 0.45, 0, -radius * 0.3, -radius * 0.4, radius * 1.1);
    shine.addColorStop(0, "rgb(255 255 255 / 0.6)");
    shine.addColorStop(0.5, "rgb(255 255 255 / 0.08)");
    shine.addColorStop(1, "rgb(255 255 255 / 0)");
    paint.fillStyle = shine;
    paint.beginPath();
    paint.arc(0, 0, radius * 0.98, 0, TURN);
    paint.fill();
  }

  // Its voice: three lines through the body, flat in silence.
  #waves(radius) {
    const paint = this.#paint;
    const reach = radius * 0.62;
    const height = radius * (0.035 + 0.42 * this.#agent + 0.05 * this.#mood.swirl);
    paint.strokeStyle = "#ffffff";
    paint.lineCap = "round";
    for (let line = 0; line < 3; line += 1) {
      paint.globalAlpha = 0.85 - line * 0.28;
      paint.lineWidth = Math.max(1.5, radius * (0.03 - line * 0.007));
      paint.beginPath();
      for (let n = 0; n <= POINTS; n += 1) {
        const x = (n / POINTS) * 2 - 1;
        const swell = Math.cos((x * Math.PI) / 2) ** 2;
        const wave = Math.sin(x * (5 + line * 1.7) + this.#phase * (4 - line) + line);
        paint.lineTo(x * reach, swell * wave * height * (1 - line * 0.25));
      }
      paint.stroke();
    }
    paint.globalAlpha = 1;
  }

  #ring(width) {
    if (this.#mood.ring < 0.02) return;
    const paint = this.#paint;
    const inner = width * 0.385;
    paint.strokeStyle = this.#colours[3];
    paint.lineWidth = Math.max(2, width * 0.0055);
    paint.lineCap = "round";
    for (let n = 0; n < TICKS; n += 1) {
      const angle = ((n + 0.5) / TICKS) * TURN + Math.PI / 2;
      const length = width * (0.004 + 0.075 * this.#ticks[n]);
      paint.globalAlpha = this.#mood.ring * (0.22 + Math.min(0.78, this.#ticks[n] * 2));
      paint.beginPath();
      paint.moveTo(Math.cos(angle) * inner, Math.sin(angle) * inner);
      paint.lineTo(Math.cos(angle) * (inner + length), Math.sin(angle) * (inner + length));
      paint.stroke();
    }
    paint.globalAlpha = 1;
  }

  #swirl(radius) {
    const paint = this.#paint;
    paint.fillStyle = this.#colours[3];
    for (let n = 0; n < 3; n += 1) {
      for (let tail = 0; tail < 14; tail += 1) {
        const angle = this.#phase * 1.6 + (n / 3) * TURN - tail * 0.055;
        paint.globalAlpha = this.#mood.swirl * 0.9 * (1 - tail / 14) ** 2;
        paint.beginPath();
        paint.arc(Math.cos(angle) * radius * 1.27, Math.sin(angle) * radius * 1.27, radius * 0.038 * (1 - tail / 20), 0, TURN);
        paint.fill();
      }
    }
    paint.globalAlpha = 1;
  }
}
