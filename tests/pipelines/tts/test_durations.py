from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from pipelines.tts.durations import with_durations


def field(number: int, *values: bytes) -> bytes:
    value = b"".join(values)
    return bytes([number << 3 | 2, len(value)]) + value


def varint(number: int, value: int) -> bytes:
    return bytes([number << 3, value])


def value_info(name: bytes) -> bytes:
    shape = field(2, field(1, field(2, b"n")))
    return field(1, name) + field(2, field(1, varint(1, 1), shape))


def node(kind: bytes, taken: bytes, given: bytes) -> bytes:
    return field(1, field(1, taken), field(2, given), field(4, kind))


def model(*nodes: bytes, outputs: tuple[bytes, ...] = (b"audio",)) -> bytes:
    graph = field(
        7, *nodes, field(2, b"g"), field(11, value_info(b"x")), *(field(12, value_info(o)) for o in outputs)
    )
    return varint(1, 8) + graph + field(8, varint(2, 15))


CEIL, NEGATE = node(b"Ceil", b"x", b"lengths"), node(b"Neg", b"lengths", b"audio")


def test_the_lengths_become_the_second_output() -> None:
    session = onnxruntime.InferenceSession(with_durations(model(CEIL, NEGATE)))
    audio, lengths = session.run(None, {"x": np.array([0.5, 1.5], np.float32)})
    assert lengths.tolist() == [1, 2]
    assert audio.tolist() == [-1, -2]


@pytest.mark.parametrize(
    "other",
    [
        model(node(b"Neg", b"x", b"audio")),
        model(CEIL, node(b"Ceil", b"lengths", b"again"), node(b"Neg", b"again", b"audio")),
        model(CEIL, NEGATE, outputs=(b"audio", b"lengths")),
        b"this is no model",
        b"\x3a\xff",
        b"",
    ],
)
def test_any_other_model_stays_as_it_is(other: bytes) -> None:
    assert with_durations(other) == other


def test_a_voice_that_tells_them_already_stays_as_it_is(models_folder: Path) -> None:
    voice = (models_folder / "piper-slt-9mb.onnx").read_bytes()
    assert with_durations(voice) == voice
