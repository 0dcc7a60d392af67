// Our page's room layer with the microphone of the browser, telling what it hears: see page_speaker.py.

import { Room } from "/web/room.js";
import { RoomClient } from "/web/signalling.js";

// As in tones.py.
const BLOCK_S = 0.02;
const TONES_HZ = Array.from({ length: 20 }, (_, step) => 600 + 150 * step);
const QUIET = 200 / 32_768;

const context = new AudioContext({ sampleRate: 48_000 });
const block = Math.round(context.sampleRate * BLOCK_S);
const hann = Float32Array.from({ length: block }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (block - 1)));

function power(samples, hz) {
  const step = (2 * Math.PI * hz) / context.sampleRate;
  let re = 0;
  let im = 0;
  for (let n = 0; n < block; n += 1) {
    re += hann[n] * samples[n] * Math.cos(step * n);
    im += hann[n] * samples[n] * Math.sin(step * n);
  }
  return re * re + im * im;
}

function toneIn(samples) {
  const energy = samples.reduce((sum, sample) => sum + sample * sample, 0);
  const powers = TONES_HZ.map((hz) => power(samples, hz));
  const strongest = Math.max(...powers);
  const isTone = energy > block * QUIET * QUIET && strongest > (0.3 * energy * block) / 8;
  return isTone ? powers.indexOf(strongest) : null;
}

const cutter = `registerProcessor("cutter", class extends AudioWorkletProcessor {
  block = new Float32Array(${block});
  filled = 0;
  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.block[this.filled++] = sample;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
});`;

let heard = [];

function listen(stream) {
  // Chromium plays a remote stream into the graph only while an element plays it too.
  const element = new Audio();
  element.muted = true;
  element.srcObject = stream;
  element.play();
  const ear = new AudioWorkletNode(context, "cutter");
  ear.port.onmessage = ({ data }) => {
    const tone = toneIn(data);
    if (tone !== null) heard.push([performance.now(), tone]);
  };
  context.createMediaStreamSource(stream).connect(ear);
}

setInterval(() => {
  if (heard.length) window.tell("heard", heard.map(([at, tone]) => [performance.now() - at, tone]));
  heard = [];
}, 100);

let room = null;

window.join = async ({ url, token, name }) => {
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([cutter], { type: "text/javascript" })));
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: plain });
  room = new Room(new RoomClient(async () => ({ url, token })), name, microphone);
  room.addEventListener("track", ({ detail }) => {
    window.tell("track", detail.peer.id);
    listen(detail.stream);
  });
  room.addEventListener("connection", ({ detail }) => window.tell("state", [detail.peer.id, detail.peer.state]));
  room.addEventListener("data", ({ detail }) => window.tell("data", detail.data));
  await room.join();
};
window.say = (data) => room.publish(data);
window.isReady = true;
