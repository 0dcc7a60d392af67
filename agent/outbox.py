"""What the agent tells the room besides its voice: reports become messages (``docs/room-messages.md``)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prometheus_client import Counter

from agent.realtime import Peer, SignallingError
from pipelines.reports import Caption, Latency, Problem, Report, StateChanged

_log = logging.getLogger(__name__)
_UNSENT = Counter("voice_agent_room_messages_unsent_total", "Messages to the room not delivered", ["why"])

#: Messages that may wait for the signalling server. When more do, captions of unfinished sentences are
#: dropped first: a later one replaces them anyway.
MAX_WAITING = 200
_KEPT_FOR_FINALS = 50


class Outbox:
    """Sends messages to the room, in order, without ever holding up the conversation.

    A caption of an unfinished sentence takes the place of one that still waits.
    """

    def __init__(self, agent_id: str, peer: Peer) -> None:
        self._agent_id = agent_id
        self._peer = peer
        self._waiting: asyncio.Queue[tuple[str | None, dict[str, Any]]] = asyncio.Queue(MAX_WAITING)
        #: Captions of unfinished sentences that wait, by their id.
        self._unfinished: dict[str, dict[str, Any]] = {}

    def report(self, report: Report) -> None:
        """Tell everybody in the room."""
        if not isinstance(report, Caption) or report.final:
            self._put(None, self._message(report))
        elif waiting := self._unfinished.get(report.id):
            waiting["text"] = report.text
        elif self._waiting.qsize() >= MAX_WAITING - _KEPT_FOR_FINALS:
            _UNSENT.labels("queue full").inc()
        else:
            message = self._unfinished[report.id] = self._message(report)
            self._put(None, message)

    def send_to(self, peer_id: str, message: dict[str, Any]) -> None:
        """Tell one peer."""
        self._put(peer_id, {"agent": self._agent_id, **message})

    async def run(self) -> None:
        """Deliver until cancelled. What cannot be delivered is gone: the room keeps no history either."""
        while True:
            peer_id, message = await self._waiting.get()
            if message["type"] == "agent.caption" and not message["final"]:
                del self._unfinished[message["id"]]
            try:
                if peer_id is None:
                    await self._peer.send(message)
                else:
                    await self._peer.send_to(peer_id, message)
            except (SignallingError, ValueError) as error:
                _UNSENT.labels("not sent").inc()
                _log.debug("a message to the room was not sent: %s", error)

    def _put(self, peer_id: str | None, message: dict[str, Any]) -> None:
        try:
            self._waiting.put_nowait((peer_id, message))
        except asyncio.QueueFull:
            _UNSENT.labels("queue full").inc()

    def _message(self, report: Report) -> dict[str, Any]:
        match report:
            case StateChanged(state):
                fields: dict[str, Any] = {"type": "agent.state", "state": state.value}
            case Caption(speaker, peer, caption_id, text, final, interrupted):
                own = speaker == "agent"
                fields = {
                    "type": "agent.caption",
                    "speaker": speaker,
                    "peer": (self._peer.peer_id or "") if own else peer,
                    "id": caption_id,
                    "text": text,
                    "final": final,
                }
                if own:
                    fields["interrupted"] = interrupted
            case Latency(turn, total_ms, steps_ms):
                rounded = {name: round(ms) for name, ms in steps_ms.items()}
                fields = {
                    "type": "agent.latency",
                    "turn": turn,
                    "total_ms": round(total_ms),
                    "steps_ms": rounded,
                }
            case Problem(message):
                fields = {"type": "agent.error", "message": message}
        return {"agent": self._agent_id, **fields}
