// How loud a stream is, measured and never played from here.

/** Silence stays silence on a meter: quieter than this is shown as nothing. */
const FLOOR_DB = -55;
const CEILING_DB = -12;

/** RMS (0–1 of full scale) as the 0–1 a person would call "how loud". */
export const loudness = (rms) =>
  rms <= 0 ? 0 : Math.min(1, Math.max(0, (20 * Math.log10(rms) - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));

export class LevelMeter {
  #analyser;
  #source;
  #samples;
  #bins;

  constructor(context, stream) {
    this.#source = context.createMediaStreamSource(stream);
    this.#analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.6 });
    this.#source.connect(this.#analyser);
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#bins = new Uint8Array(this.#analyser.frequencyBinCount);
  }

  /** RMS of the last 20 ms or so, 0–1 of full scale. */
  rms() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return Math.sqrt(sum / this.#samples.length);
  }

  /** `count` bands of the range speech lives in, each 0–1. */
  bands(count) {
    this.#analyser.getByteFrequencyData(this.#bins);
    const usable = Math.floor(this.#bins.length / 4);
    return Array.from({ length: count }, (_, n) => this.#bins[Math.floor(1 + (n / count) * usable)] / 255);
  }

  close() {
    this.#source.disconnect();
  }
}
