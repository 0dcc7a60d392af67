"""Writes small ONNX files: just enough of the format (onnx.proto3) for a chain of nodes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

FLOAT, DOUBLE = 1, 11
Shape = Sequence[int | str]


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _value(name: str, shape: Shape, kind: int) -> bytes:
    dims = b"".join(_bytes(1, _number(1, n) if isinstance(n, int) else _bytes(2, n)) for n in shape)
    tensor = _number(1, kind) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _scalar(name: str, value: float) -> bytes:
    return _number(2, FLOAT) + _bytes(8, name) + _bytes(9, struct.pack("<f", value))


def _node(kind: str, inputs: Sequence[str], output: str, **integers: int | Sequence[int]) -> bytes:
    node = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, output) + _bytes(4, kind)
    for name, value in integers.items():
        if isinstance(value, int):
            node += _bytes(5, _bytes(1, name) + _number(3, value) + _number(20, 2))
        else:
            node += _bytes(5, _bytes(1, name) + b"".join(_number(8, n) for n in value) + _number(20, 7))
    return node


def write_mean_model(
    path: Path,
    shape: Shape,
    *,
    scale: float = 1.0,
    sigmoid: bool = True,
    keep: bool = False,
    kind: int = FLOAT,
) -> Path:
    """A model that answers sigmoid(scale · mean of its input); without `sigmoid`, the bare mean; `keep`: one
    answer for each value of the input."""
    nodes = [_node("Mul", ("input_features", "scale"), "scaled")]
    last, out_shape = "scaled", list(shape)
    if not keep:
        nodes.append(_node("ReduceMean", (last,), "mean", axes=range(1, len(shape)), keepdims=0))
        last, out_shape = "mean", [shape[0]]
    if sigmoid:
        nodes.append(_node("Sigmoid", (last,), "probability"))
        last = "probability"
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, "mean")
    if kind == FLOAT:
        graph += _bytes(5, _scalar("scale", scale))
    graph += _bytes(11, _value("input_features", shape, kind))
    if kind != FLOAT:
        graph += _bytes(11, _value("scale", [1], kind))
    graph += _bytes(12, _value(last, out_shape, kind))
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13)))
    return path
