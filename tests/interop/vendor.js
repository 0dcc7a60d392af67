// A page as somebody would write it with the vendor's client: joins, says a tone, keeps what it is told.

import { MeteredPeer } from "./node_modules/@metered-ca/realtime/dist/index.mjs";

const PROMPT = { initialDelayMs: 50, multiplier: 1, jitterRatio: 0 };

const they = { tracks: [], data: [], states: [], errors: [], channels: {}, received: [], peer: null, voice: null };
window.they = they;

const keep = (channel) => {
  they.channels[channel.label] = channel;
  channel.onmessage = ({ data }) => they.received.push({ label: channel.label, data });
};

const watch = (remote) => {
  remote.on("state-change", ({ to }) => they.states.push([remote.id, to]));
  remote.on("track", ({ track, streams, metadata }) =>
    they.tracks.push({ from: remote.id, kind: track.kind, streams: streams.map(({ id }) => id), metadata: metadata ?? null }),
  );
  remote.on("data-channel", ({ channel }) => keep(channel));
  remote.on("negotiation-error", ({ err }) => they.errors.push(String(err)));
};

they.remote = (id) => they.peer.remotePeers.find((remote) => remote.id === id);

they.join = async ({ url, credential, room, hz, metadata }) => {
  const { token, key } = credential;
  const peer = new MeteredPeer({ ...(key ? { apiKey: key } : { tokenProvider: async () => token }), url, reconnect: PROMPT });
  they.peer = peer;
  peer.on("peer-joined", ({ peer: remote }) => watch(remote));
  peer.on("data", ({ senderPeerId, data, kind }) => they.data.push({ from: senderPeerId, data, kind }));
  peer.on("error", ({ err }) => they.errors.push(String(err)));
  if (hz) they.speak(hz, metadata);
  await peer.join(room);
  return peer.peerId;
};

they.speak = (hz, metadata) => {
  they.voice = sound.tone(hz);
  they.peer.addStream(they.voice, metadata);
  return they.voice.id;
};

they.open = (id, label) => keep(they.remote(id).pc.createDataChannel(label));

// What the browser says when a path is dead, without the half minute it takes to find out.
they.loseThePath = (id) => {
  const { pc } = they.remote(id);
  Object.defineProperty(pc, "iceConnectionState", { configurable: true, get: () => "failed" });
  pc.dispatchEvent(new Event("iceconnectionstatechange"));
  delete pc.iceConnectionState;
};

they.openMicrophone = async () => they.peer.addStream(await navigator.mediaDevices.getUserMedia({ audio: true }));

// Plays what a peer films, and keeps which colours its middle has.
they.watch = (id) => {
  const receiver = they.remote(id).pc.getReceivers().find(({ track }) => track.kind === "video");
  const player = document.body.appendChild(document.createElement("video"));
  player.muted = true;
  player.srcObject = new MediaStream([receiver.track]);
  player.play();
  const film = { stats: null, colours: new Set() };
  const look = async () => {
    for (const report of (await receiver.getStats()).values()) if (report.type === "inbound-rtp") film.stats = report;
    if (player.videoWidth) {
      const canvas = new OffscreenCanvas(player.videoWidth, player.videoHeight).getContext("2d");
      canvas.drawImage(player, 0, 0);
      const middle = canvas.getImageData(player.videoWidth / 2, player.videoHeight / 2, 1, 1).data;
      film.colours.add(["red", "green", "blue"][middle.indexOf(Math.max(...middle.slice(0, 3)))]);
    }
    setTimeout(look, 50);
  };
  look();
  they.film = film;
};

they.replace = async (hz) => {
  const [before] = they.voice.getTracks();
  const [after] = sound.tone(hz).getTracks();
  await they.peer.replaceTrack(before, after);
  they.voice.removeTrack(before);
  they.voice.addTrack(after);
};
