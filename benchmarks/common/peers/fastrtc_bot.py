"""FastRTC: `ReplyOnPause` with its defaults round a reply function as in its guide.

The guide's function waits for the whole reply before it speaks; this one speaks sentence by sentence as the
language model writes them, which is faster. FastRTC fetches its Silero from a model hub; the same network
comes out of an older package of faster-whisper here, in `Environment.wheels`.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from openai import OpenAI

from benchmarks.common.buzz import RATE_HZ, buzz
from benchmarks.common.setup import INSTRUCTIONS, Setup, announce

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from fastrtc import ReplyOnPause, Stream
from fastrtc.pause_detection.silero import SileroVADModel

_WHISPER_RATE_HZ = 16_000
CALL_RATE_HZ = 48_000
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)

Audio = tuple[int, NDArray[np.int16]]


class PackagedSilero(SileroVADModel):
    """FastRTC's own detector with the network from a package."""

    @staticmethod
    def download_model() -> str:
        network = Path(sys.prefix) / "silero_vad.onnx"
        if not network.exists():
            wheel = next((Path(sys.prefix) / "wheels").glob("faster_whisper-*.whl"))
            with zipfile.ZipFile(wheel) as package:
                network.write_bytes(package.read("faster_whisper/assets/silero_vad.onnx"))
        return str(network)


def recogniser(setup: Setup) -> Callable[[Audio], str]:
    if setup.whisper is None:
        note = setup.note
        return lambda audio: note.heard(audio[1].size / audio[0])
    from faster_whisper import WhisperModel

    model = WhisperModel(setup.whisper)

    def transcribe(audio: Audio) -> str:
        rate_hz, samples = audio
        wave = librosa.resample(
            samples.reshape(-1).astype(np.float32) / 32768, orig_sr=rate_hz, target_sr=_WHISPER_RATE_HZ
        )
        segments, _ = model.transcribe(wave, language="en", beam_size=1)
        return "".join(segment.text for segment in segments)

    return transcribe


def speaker(setup: Setup) -> Callable[[str], Iterator[Audio]]:
    if setup.piper is None:

        def speak_freely(text: str) -> Iterator[Audio]:
            samples = buzz(text)
            if len(samples):
                yield RATE_HZ, samples[None, :]

        return speak_freely
    from piper import PiperVoice

    voice = PiperVoice.load(setup.piper)

    def speak(text: str) -> Iterator[Audio]:
        for chunk in voice.synthesize(text):
            yield chunk.sample_rate, chunk.audio_int16_array[None, :]

    return speak


def responder(setup: Setup) -> Callable[[Audio], Iterator[Audio]]:
    hear, speak = recogniser(setup), speaker(setup)
    llm = OpenAI(api_key="none", base_url=setup.llm_url)
    messages: list[dict[str, str]] = [{"role": "system", "content": INSTRUCTIONS}]

    def respond(audio: Audio) -> Iterator[Audio]:
        text = hear(audio)
        if not text.strip():
            return
        messages.append({"role": "user", "content": text})
        said = rest = ""
        stream: Any = llm.chat.completions.create(
            model="benchmark",
            messages=messages,  # type: ignore[arg-type]
            stream=True,
        )
        for chunk in stream:
            rest += chunk.choices[0].delta.content or ""
            while sentence := _SENTENCE.match(rest):
                rest = rest[sentence.end() :].lstrip()
                said = f"{said} {sentence[0]}"
                yield from speak(sentence[0])
        yield from speak(rest)
        messages.append({"role": "assistant", "content": f"{said} {rest}".strip()})

    return respond


def main() -> None:
    setup = Setup.from_arguments()
    silero = PackagedSilero()
    # What resamples for it is compiled at its first call, which takes seconds.
    silero.vad((CALL_RATE_HZ, np.zeros(CALL_RATE_HZ, np.int16)), None)
    stream = Stream(
        ReplyOnPause(responder(setup), model=silero),
        modality="audio",
        mode="send-receive",
        # There is nobody to ask on loopback.
        server_rtc_configuration={"iceServers": []},
        verbose=False,
    )
    app = FastAPI()
    stream.mount(app)
    listener = socket.create_server(("127.0.0.1", 0))
    announce(f"http://127.0.0.1:{listener.getsockname()[1]}")
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run([listener])


if __name__ == "__main__":
    main()
