"""Rooms with connections in them."""

from __future__ import annotations

from typing import Any

from agent.hub.keys import ALL_ACTIONS
from agent.hub.rooms import (
    Grant,
    Output,
    Rooms,
)
from agent.realtime.frames import (
    ErrorFrame,
)


def make_rooms(*peer_ids: str, **grant: Any) -> Rooms:
    """Connections 1, 2, … for the peers named, who may do everything unless `grant` says otherwise."""
    rooms = Rooms()
    for connection_id, peer_id in enumerate(peer_ids, 1):
        rooms.connect(connection_id, Grant(peer_id, **({"actions": ALL_ACTIONS} | grant)))
    return rooms


def error(outputs: list[Output]) -> str:
    [(_, frame)] = outputs
    assert isinstance(frame, ErrorFrame)
    return frame.code
