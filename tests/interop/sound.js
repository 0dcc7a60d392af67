// Ears and a voice for a page under test: it says a tone, and knows which tone each received stream is.
// A classic script, so that it can be put into a page before its own code.

window.sound = (() => {
  const SILENCE_DB = -65;
  let context = null;
  const ears = [];
  const connections = [];

  const audio = () => (context ??= new AudioContext());

  const listen = (track, stream) => {
    // Chromium lets Web Audio hear a remote track only while an element plays it.
    const player = new Audio();
    player.muted = true;
    player.srcObject = new MediaStream([track]);
    player.play().catch(() => {});
    const analyser = new AnalyserNode(audio(), { fftSize: 4096, smoothingTimeConstant: 0 });
    audio().createMediaStreamSource(new MediaStream([track])).connect(analyser);
    ears.push({ streamId: stream?.id ?? null, track, analyser, player });
  };

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...options) {
      super(...options);
      connections.push(this);
      this.addEventListener("track", ({ track, streams }) => track.kind === "audio" && listen(track, streams[0]));
    }
  };

  return {
    connections,
    /** A stream with one tone. */
    tone(hz) {
      const oscillator = new OscillatorNode(audio(), { frequency: hz });
      const target = audio().createMediaStreamDestination();
      oscillator.connect(new GainNode(audio(), { gain: 0.3 })).connect(target);
      oscillator.start();
      return target.stream;
    },
    /** The pitches heard at this moment, in Hz, of tracks that live; silent ones are left out. */
    pitches(streamId) {
      const heard = [];
      for (const ear of ears) {
        if (ear.track.readyState === "ended" || (streamId && ear.streamId !== streamId)) continue;
        const bins = new Float32Array(ear.analyser.frequencyBinCount);
        ear.analyser.getFloatFrequencyData(bins);
        const loudest = bins.indexOf(Math.max(...bins));
        if (bins[loudest] > SILENCE_DB) heard.push((loudest * audio().sampleRate) / ear.analyser.fftSize);
      }
      return heard;
    },
  };
})();
