"""What a remote peer shares with the room it is in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from agent.realtime.ice_servers import IceServer
from agent.realtime.remote.peer_events import PeerEvent
from agent.realtime.sending.tracks import Outgoing


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a remote peer needs of the room it is in."""

    #: Sends a payload to a peer id; False if it did not get through.
    send: Callable[[str, Any], Awaitable[bool]]
    #: Returns when one more payload may be sent: a server allows only so many.
    turn: Callable[[], Awaitable[None]]
    is_online: Callable[[], bool]
    #: Has the way to the server looked at: what broke the path to a peer may have broken it too.
    check_line: Callable[[], None]
    ice_servers: Callable[[], Sequence[IceServer]]
    #: Whether only relays may carry media.
    relay_only: bool
    #: What a peer id is to be sent.
    outgoing: Callable[[str], Sequence[Outgoing]]
    receive_video: bool
    emit: Callable[[PeerEvent], None]
    #: Runs something to its end without waiting for it here.
    spawn: Callable[[Coroutine[Any, Any, None]], object]
