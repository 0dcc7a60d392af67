"""What one aiortc connection sends and receives, as far as it has been agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpTransceiver

from agent.realtime.connections import aiortc_seam
from agent.realtime.negotiation import sdp
from agent.realtime.sending.encoding import Wishes
from agent.realtime.sending.sending_seam import Mouth
from agent.realtime.sending.tracks import Outgoing, OutgoingTrack

#: A section that once carried a track is used again only when there are so many; see `_free_section`.
REUSE_FROM_SECTIONS = 5


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedTrack:
    """A remote track as its description announced it."""

    track: MediaStreamTrack
    stream_id: str | None
    #: As the sender names it; None if it names none. `track.id` may differ.
    track_id: str | None


class ConnectionMedia:
    """Matches what is to be sent with the sections of a session, and notices what comes and goes in them.

    aiortc announces a remote track once for each section and never says that it is gone; here it is gone when
    a description no longer sends it, and another one when it is sent again or belongs to another stream.
    Video is received only if wanted: decoding what nobody looks at costs more than everything else.
    """

    def __init__(
        self,
        pc: RTCPeerConnection,
        *,
        on_track: Callable[[ReceivedTrack], None],
        on_track_ended: Callable[[MediaStreamTrack], None],
        receive_video: bool,
    ) -> None:
        self._pc = pc
        self._on_track = on_track
        self._on_track_ended = on_track_ended
        self._receives_kinds = {"audio", "video"} if receive_video else {"audio"}
        self._wanted: Sequence[Outgoing] = ()
        #: The section of everything that has one.
        self._sections: dict[Outgoing, RTCRtpTransceiver] = {}
        #: One for each section that ever sent.
        self._tracks: dict[RTCRtpTransceiver, OutgoingTrack] = {}
        #: Those of sound among them.
        self._mouths: dict[RTCRtpTransceiver, Mouth] = {}
        #: Sections in which something ended since the last agreement.
        self._ended: list[RTCRtpTransceiver] = []
        self._received: dict[RTCRtpTransceiver, ReceivedTrack] = {}
        self._msids: dict[str, sdp.Msid] = {}
        self._fmtps: dict[str, dict[str, str]] = {}
        pc.on("track", self._track_announced)

    def receiving_direction(self, kind: str) -> str:
        """The direction of a section in which nothing is sent."""
        return "recvonly" if kind in self._receives_kinds else "inactive"

    # ---- sending

    def send(self, wanted: Sequence[Outgoing]) -> None:
        """Send these and nothing else, from the next description on; what is not among them ends at once."""
        self._wanted = wanted
        for outgoing in [known for known in self._sections if known not in wanted]:
            section = self._sections.pop(outgoing)
            outgoing.stop_on(self._tracks[section])
            section.direction = self.receiving_direction(section.kind)
            self._ended.append(section)

    def place(self, offered_mids: set[str] | None = None) -> None:
        """Find a section for everything that has none: to make an offer, or in the one being answered.

        Answering, no section may be added, because it would take a transport of its own that never starts.
        """
        for outgoing in self._wanted:
            if outgoing in self._sections:
                continue
            section = self._free_section(outgoing.kind, offered_mids)
            if section is None and offered_mids is None:
                section = self._pc.addTransceiver(
                    outgoing.kind, _with_sending(self.receiving_direction(outgoing.kind))
                )
            if section is not None:
                self._send_in(section, outgoing)

    def decline_unwanted(self) -> None:
        """Answering: do not receive what is not wanted."""
        for section in self._pc.getTransceivers():
            if section.kind not in self._receives_kinds:
                sends = section in self._sections.values()
                section.direction = "sendonly" if sends else "inactive"

    @property
    def unsatisfied(self) -> bool:
        """Whether the other side has still to be told of something that is sent, or no longer sent."""
        if any(outgoing not in self._sections for outgoing in self._wanted):
            return True
        sending = set(self._sections.values())
        return any((section in sending) != _sends(section) for section in self._tracks)

    def _free_section(self, kind: str, offered_mids: set[str] | None) -> RTCRtpTransceiver | None:
        """A section where nothing was ever sent; one where something was only when there are many already.

        To the vendor's Python client a track that ended has ended for good, and with it what comes after it
        in the same section. But a session cannot grow for ever, and others take the section again.
        """
        usable = [
            section
            for section in self._pc.getTransceivers()
            if section.kind == kind
            and section not in self._sections.values()
            and not self._is_spent(section)
            and (offered_mids is None or section.mid in offered_mids)
        ]
        fresh = [section for section in usable if section not in self._tracks]
        if not fresh and len(self._pc.getTransceivers()) < REUSE_FROM_SECTIONS:
            return None
        return next(iter(fresh or usable), None)

    def _is_spent(self, section: RTCRtpTransceiver) -> bool:
        """Whether an error has ended its sender for good."""
        track, mouth = self._tracks.get(section), self._mouths.get(section)
        has_ended = track is not None and track.readyState == "ended"
        return has_ended and not (mouth is not None and mouth.can_go_on)

    def _send_in(self, section: RTCRtpTransceiver, outgoing: Outgoing) -> None:
        track = self._tracks.get(section)
        if track is None or track.readyState == "ended":
            track = self._tracks[section] = OutgoingTrack(outgoing.kind)
        aiortc_seam.set_track_id(track, outgoing.track_id)
        # Also where it is there already: the sender remembers the name it had then.
        section.sender.replaceTrack(track)
        if outgoing.kind == "audio":
            mouth = self._mouths.get(section)
            if mouth is None:
                self._mouths[section] = Mouth(section.sender)
            else:
                mouth.go_on()
        aiortc_seam.set_stream_id(section.sender, outgoing.stream_id)
        section.direction = _with_sending(section.direction)
        self._sections[outgoing] = section
        outgoing.play_on(track)

    # ---- receiving

    @property
    def received(self) -> list[MediaStreamTrack]:
        """The tracks the other side sends."""
        return [received.track for received in self._received.values()]

    def described(self, text: str) -> None:
        """The other side's description is about to be applied."""
        # aiortc announces tracks while it applies the description, and says nothing of streams.
        self._msids = sdp.msids_by_mid(text)
        self._fmtps = sdp.opus_parameters_by_mid(text)

    async def agreed(self) -> None:
        """Offer and answer are both in force."""
        while self._ended:
            section = self._ended.pop()
            if section not in self._sections.values():
                await aiortc_seam.say_bye(section.sender)
        for section, mouth in self._mouths.items():
            mouth.wishes = Wishes.of(self._fmtps.get(section.mid or "", {}))
        for section in self._pc.getTransceivers():
            if section.receiver.track is None or section.kind not in self._receives_kinds:
                continue
            receives = section.currentDirection in ("sendrecv", "recvonly")
            known = self._received.get(section)
            named = self._msids.get(section.mid or "")
            if known and (not receives or (named and named.stream_id != known.stream_id)):
                del self._received[section]
                aiortc_seam.end_received_track(known.track)
                self._on_track_ended(known.track)
                known = None
            if receives and known is None:
                self._announce(section, aiortc_seam.renew_received_track(section.receiver))

    def _track_announced(self, track: MediaStreamTrack) -> None:
        if track.kind not in self._receives_kinds:
            return
        section = next(t for t in self._pc.getTransceivers() if t.receiver.track is track)
        self._announce(section, aiortc_seam.prepare_received_track(self._pc, track))

    def _announce(self, section: RTCRtpTransceiver, track: MediaStreamTrack) -> None:
        msid = self._msids.get(section.mid or "", sdp.Msid(None, None))
        self._received[section] = received = ReceivedTrack(track, msid.stream_id, msid.track_id)
        self._on_track(received)

    # ---- the end

    def stop_sending(self) -> None:
        """Before the connection is closed: so no sender is left waiting for a frame."""
        for outgoing, section in self._sections.items():
            outgoing.stop_on(self._tracks[section])
        self._sections.clear()
        for track in self._tracks.values():
            track.stop()

    def end_received(self) -> None:
        """After it was closed: readers of tracks that never started end as well."""
        for received in self._received.values():
            aiortc_seam.end_received_track(received.track)


def _sends(section: RTCRtpTransceiver) -> bool:
    return section.currentDirection in ("sendrecv", "sendonly")


def _with_sending(direction: str) -> str:
    return "sendrecv" if direction in ("recvonly", "sendrecv") else "sendonly"
