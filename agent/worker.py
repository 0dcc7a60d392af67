"""One agent in one room: a peer and a conversation, in one task group, from join to leave."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime

from aiortc import MediaStreamTrack
from prometheus_client import Counter

from agent.access import ROLE_AGENT, PeerAccess
from agent.dispatch.base import AgentRequest, AgentState, AgentStatus, DispatchError
from agent.hearing import Hearing
from agent.outbox import Outbox
from agent.realtime import (
    AudioSource,
    DataReceived,
    FatalError,
    Peer,
    PeerJoined,
    PeerLeft,
    RemotePeer,
    SignallingError,
    StateChanged,
    TrackAdded,
    TrackEnded,
    iter_speech,
)
from agent.settings import Settings
from pipelines.audio import Samples
from pipelines.base import EngineError
from pipelines.engines import Engines
from pipelines.persona import Persona
from pipelines.voice import Conversation

_log = logging.getLogger(__name__)
_CHATS_REFUSED = Counter("voice_agent_chats_refused_total", "Typed messages not answered", ["why"])

#: The stream id by which callers recognise the agent's voice; it survives where track ids do not.
VOICE_STREAM_ID = "agent-voice"
MAX_CHAT_CHARS = 2000
#: Typed messages one caller may send: this many at once, and one more each so many seconds.
CHAT_BURST = 5
CHAT_EVERY_S = 1.0


class Worker:
    """`run` is the whole call; `joined` is set when others can see the agent; `leave` ends it politely."""

    def __init__(
        self,
        agent_id: str,
        request: AgentRequest,
        persona: Persona,
        *,
        access: PeerAccess,
        engines: Engines,
        settings: Settings,
    ) -> None:
        self.id = agent_id
        self.request = request
        self.joined = asyncio.Event()
        self.warnings: tuple[str, ...] = ()
        self._persona = persona
        self._access = access
        self._engines = engines
        self._settings = settings
        self._leave = asyncio.Event()
        self._created_at = datetime.now(UTC)
        self._peer: Peer | None = None
        self._conversation: Conversation | None = None
        self._hearing: Hearing | None = None
        self._chat: dict[str, _Allowance] = {}
        #: Peers that send an agent's voice.
        self._voices: set[str] = set()
        self._empty_timer: asyncio.TimerHandle | None = None
        self._greeted = False

    def leave(self) -> None:
        """Finish the sentence and go; `run` returns then. Idempotent."""
        self._leave.set()

    def status(self) -> AgentStatus:
        if self._leave.is_set():
            state = AgentState.LEAVING
        elif self._conversation is None or not self.joined.is_set():
            state = AgentState.JOINING
        else:
            state = AgentState(self._conversation.state.value)
        return AgentStatus(
            id=self.id,
            request=self.request,
            state=state,
            created_at=self._created_at,
            peer_id=self._peer.peer_id if self._peer else None,
            callers=self._hearing.callers if self._hearing else (),
            turns=self._conversation.turn if self._conversation else 0,
            engines=self._engines.report(),
            warnings=self.warnings,
        )

    async def run(self) -> None:
        """Raises `DispatchError` when the room cannot be joined or is lost for good."""
        try:
            voice = await self._engines.voice(self._persona.voice, self._persona.language)
        except EngineError as error:
            raise DispatchError(str(error)) from error
        if not self._engines.stt.info.supports(self._persona.language):
            spoken = ", ".join(self._engines.stt.info.languages)
            self.warnings = (
                f"speech recognition here understands only: {spoken}; not {self._persona.language}",
            )
        try:
            async with AudioSource() as source, self._connect() as peer:
                self._peer = peer
                peer.add_track(source, stream_id=VOICE_STREAM_ID, metadata={"role": ROLE_AGENT})
                outbox = Outbox(self.id, peer)
                conversation = Conversation(
                    stt=self._engines.stt,
                    llm=self._engines.llm,
                    voice=voice,
                    end_of_turn=self._engines.end_of_turn,
                    playout=source,
                    persona=self._persona,
                    vad=self._settings.vad,
                    turns=self._settings.turns,
                    report=outbox.report,
                )
                await peer.join(self.request.room)
                async with conversation:
                    self._conversation = conversation
                    await self._call(peer, conversation, outbox)
        except SignallingError as error:
            raise DispatchError(str(error)) from error

    def _connect(self) -> Peer:
        access = self._access
        try:
            return Peer(
                access.url,
                key=access.key,
                token_provider=access.token_provider,
                ice_servers=access.ice_servers or None,
            )
        except ValueError as error:
            raise DispatchError(f"the room's server cannot be used: {error}") from None

    async def _call(self, peer: Peer, conversation: Conversation, outbox: Outbox) -> None:
        for remote in peer.remote_peers.values():
            self._meet(remote, conversation)
        self._watch_emptiness(conversation)
        async with asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(outbox.run())
            hearing = self._hearing = self._new_hearing(tasks, conversation, outbox)
            events = tasks.create_task(self._follow(peer, conversation, outbox, hearing))
            self.joined.set()
            await self._leave.wait()
            try:
                async with asyncio.timeout(self._settings.agents.leave_timeout_s):
                    await conversation.quiet()
            except TimeoutError:
                _log.info("agent %s leaves in the middle of a sentence", self.id)
            events.cancel()
            delivery.cancel()
            hearing.stop()
        if self._empty_timer:
            self._empty_timer.cancel()

    def _new_hearing(self, tasks: asyncio.TaskGroup, conversation: Conversation, outbox: Outbox) -> Hearing:
        most = self._settings.agents.max_callers

        async def hear(peer_id: str, track: MediaStreamTrack) -> None:
            await conversation.hear(peer_id, self._greet_on_first_sound(track, conversation))

        def refuse(peer_id: str) -> None:
            message = f"The agent hears {most} callers already. It will hear you when one of them is gone."
            outbox.send_to(peer_id, {"type": "agent.error", "message": message})

        return Hearing(tasks, hear, max_callers=most, refuse=refuse)

    async def _follow(self, peer: Peer, conversation: Conversation, outbox: Outbox, hearing: Hearing) -> None:
        async for event in peer.events():
            match event:
                case PeerJoined(remote):
                    outbox.send_to(remote.id, self._hello())
                    self._meet(remote, conversation)
                    self._watch_emptiness(conversation)
                case TrackAdded(remote, track, stream_id):
                    if stream_id == VOICE_STREAM_ID:
                        self._voices.add(remote.id)
                        conversation.left(remote.id)
                        self._watch_emptiness(conversation)
                    elif track.kind == "audio" and not self._is_agent(remote):
                        hearing.add(remote.id, track)
                case TrackEnded(remote, track):
                    hearing.ended(remote.id, track)
                case StateChanged(RemotePeer() as remote, "connected"):
                    # Whoever sends no sound gives no other sign that the path carries some.
                    if not hearing.has_track(remote.id) and not self._is_agent(remote):
                        self._greet(conversation)
                case PeerLeft(remote):
                    conversation.left(remote.id)
                    hearing.left(remote.id)
                    self._chat.pop(remote.id, None)
                    self._voices.discard(remote.id)
                    self._watch_emptiness(conversation)
                case DataReceived(sender_id, data) if sender_id in peer.remote_peers:
                    self._data(sender_id, data, conversation, outbox)
                case FatalError(code, message):
                    raise DispatchError(f"the room is lost: {message} ({code})")
                case _:
                    pass

    def _hello(self) -> dict[str, object]:
        engines = [
            {key: value for key, value in asdict(info).items() if key != "languages"}
            for info in self._engines.report()
        ]
        state = self._conversation.state.value if self._conversation else "joining"
        return {
            "type": "agent.hello",
            "name": self._persona.title or self._persona.name,
            "state": state,
            "engines": engines,
            "warnings": list(self.warnings),
        }

    # ---- callers

    def _meet(self, remote: RemotePeer, conversation: Conversation) -> None:
        if not self._is_agent(remote):
            name = (remote.metadata or {}).get("name")
            conversation.joined(remote.id, name if isinstance(name, str) else "")

    async def _greet_on_first_sound(
        self, track: MediaStreamTrack, conversation: Conversation
    ) -> AsyncIterator[Samples]:
        # A packet from the caller is the proof that the path carries sound: a greeting before is not heard.
        async for block in iter_speech(track):
            self._greet(conversation)
            yield block

    def _greet(self, conversation: Conversation) -> None:
        if not self._greeted:
            self._greeted = True
            conversation.greet()

    def _is_agent(self, remote: RemotePeer) -> bool:
        # A publishable key says nothing of roles; there an agent is known by its voice.
        return (remote.metadata or {}).get("role") == ROLE_AGENT or remote.id in self._voices

    def _watch_emptiness(self, conversation: Conversation) -> None:
        """The agent leaves a room in which nobody but agents has been for a while; who comes before that
        is somebody else, who is greeted and hears nothing of what was said before."""
        if self._empty_timer:
            self._empty_timer.cancel()
            self._empty_timer = None
        if conversation.alone:
            self._greeted = False
            conversation.forget()
            limit_s = self._persona.leave_after_empty_s
            self._empty_timer = asyncio.get_running_loop().call_later(limit_s, self._leave.set)

    # ---- text

    def _data(self, sender_id: str, data: object, conversation: Conversation, outbox: Outbox) -> None:
        if not isinstance(data, dict) or data.get("type") != "chat":
            return
        text = data.get("text")
        if not isinstance(text, str) or not text.strip():
            return
        if len(text) > MAX_CHAT_CHARS:
            _CHATS_REFUSED.labels("too long").inc()
            message = f"That message is too long: at most {MAX_CHAT_CHARS} characters."
        elif not self._chat.setdefault(sender_id, _Allowance()).take():
            _CHATS_REFUSED.labels("too fast").inc()
            message = "Slow down a little: that message was not read."
        else:
            conversation.typed(sender_id, text)
            return
        outbox.send_to(sender_id, {"type": "agent.error", "message": message})


class _Allowance:
    """A token bucket for one caller's messages."""

    def __init__(self) -> None:
        self._left = float(CHAT_BURST)
        self._at_s = time.monotonic()

    def take(self) -> bool:
        now_s = time.monotonic()
        self._left = min(CHAT_BURST, self._left + (now_s - self._at_s) / CHAT_EVERY_S)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
