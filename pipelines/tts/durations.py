"""Makes a Piper model tell how long each phoneme is.

Such a model computes these lengths, in the one ``Ceil`` of its graph (as `piper.patch_voice_with_alignment`
finds them), and most do not give them out. ONNX is protobuf, where what is appended to a message is merged
into it: one more output of the graph is a few bytes at the end of the file, and finding the name to put there
takes no more than walking over the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

# Field numbers of onnx.proto: ModelProto, GraphProto, NodeProto and ValueInfoProto.
_GRAPH, _NODE, _GRAPH_OUTPUT, _NODE_OUTPUT, _OP_TYPE, _NAME = 7, 1, 12, 2, 4, 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def with_durations(model: bytes) -> bytes:
    """`model` with its phonemes' lengths as its second output; as it is where that cannot be had."""
    try:
        name = _durations_name(memoryview(model))
    except (ValueError, IndexError):
        return model
    if name is None:
        return model
    output = _field(_GRAPH_OUTPUT, _field(_NAME, name))
    return model + _field(_GRAPH, output)


def _durations_name(model: memoryview) -> bytes | None:
    """The tensor of the only ``Ceil``; None where there is another number of them, or of outputs but one."""
    names: list[bytes] = []
    outputs = 0
    for graph in _parts(model, _GRAPH):
        outputs += sum(1 for _ in _parts(graph, _GRAPH_OUTPUT))
        for node in _parts(graph, _NODE):
            if any(bytes(kind) == b"Ceil" for kind in _parts(node, _OP_TYPE)):
                names += [bytes(name) for name in _parts(node, _NODE_OUTPUT)]
    return names[0] if len(names) == outputs == 1 else None


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of the length-delimited field `wanted`. Raises `ValueError` for what is no protobuf."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            if field == wanted:
                yield message[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"there is no wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _field(number: int, value: bytes) -> bytes:
    size, head = len(value), bytes([number << 3 | _BYTES])
    while size >= 0x80:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + value
